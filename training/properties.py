"""Properties of an image that say nothing about a lung: what a trivial rule can go by."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.images import map_images
from training.manifest import Record


def trivial_properties(
    root: Path, records: Sequence[Record], squares: NDArray[np.uint8]
) -> dict[str, NDArray[np.float64]]:
    """Measure each image's departure from a square, mean brightness and contrast.

    Args:
        root: The data folder.
        records: N images.
        squares: Their preprocessed squares, uint8 (N, S, S).

    Returns:
        By name, float64 (N,): ``not_square`` (0 or 1), ``mean_brightness`` and ``contrast`` in 0..255.
    """
    flat = squares.reshape(len(squares), -1).astype(np.float64)
    return {
        "not_square": np.array(map_images(root, records, lambda image: float(image.width != image.height))),
        "mean_brightness": flat.mean(axis=1),
        "contrast": flat.std(axis=1),
    }
