"""Images as the squares that a network is fed, decoded and preprocessed once."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.imaging import IMAGE_SIZE, to_network_input, to_square
from app.outputs import Infer, Outputs
from training.images import map_images
from training.manifest import Record

BATCH: Final = 8
"""Images that ``network_inputs`` yields at a time."""


def load_squares(
    root: Path, records: Sequence[Record], cache: Path | None = None, size: int = IMAGE_SIZE, *, preprocessing: int
) -> NDArray[np.uint8]:
    """Decode and preprocess images, or read the result of an earlier call.

    Args:
        root: The data folder.
        records: Which images.
        cache: Folder for the result, named by a digest of everything it depends on; None: no cache.
        size: Side of the squares in pixels.
        preprocessing: Its version, that of the model which the squares are for.

    Returns:
        Grey levels, uint8, shape (N, size, size), in the order of the records.

    Raises:
        TrainingError: Images cannot be read; the message names them.
    """
    key = "\n".join([f"preprocessing {preprocessing}, size {size}", *(r.sha256 for r in records)])
    path = cache / f"squares-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy" if cache else None
    if path and path.exists():
        with suppress(ValueError, EOFError):  # A damaged cache is made anew.
            return np.asarray(np.load(path, allow_pickle=False))
    squares = np.stack(map_images(root, records, lambda image: to_square(image.pixels, size, version=preprocessing)))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, squares)
        partial.replace(path)
    return squares


def infer_squares(infer: Infer, squares: NDArray[np.uint8]) -> Outputs:
    """Ask an exported network about squares (N, S, S), N at least 1, a few at a time."""
    return Outputs.concatenate([infer(images) for images in network_inputs(squares)])


def network_inputs(squares: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Yield network input float32 (B, S, S, 3) in 0..1 from squares (N, S, S), a few at a time to spare memory."""
    for first in range(0, len(squares), BATCH):
        yield to_network_input(squares[first : first + BATCH])
