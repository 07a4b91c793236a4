"""Properties of an image that say nothing about a lung: what a trivial rule can go by."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.evaluate import trivial_rules
from training.images import map_images
from training.manifest import Record
from training.squares import load_squares


def measure_trivial_rules(
    root: Path,
    fitted_on: Sequence[Record],
    measured_on: Sequence[Record],
    cache: Path | None = None,
    *,
    preprocessing: int,
) -> dict[str, dict[str, float]]:
    """Measure what a rule on each trivial property reaches.

    Args:
        root: The data folder.
        fitted_on: Images that choose a rule's direction and threshold; both classes are among them.
        measured_on: Images that it is measured on.
        cache: Folder of preprocessed squares.
        preprocessing: Its version: brightness and contrast are those of what the model sees.

    Returns:
        As ``evaluate.trivial_rules``.
    """
    fitted, measured = (
        (
            trivial_properties(root, records, load_squares(root, records, cache, preprocessing=preprocessing)),
            np.array([record.label for record in records]),
        )
        for records in (fitted_on, measured_on)
    )
    return trivial_rules(fitted, measured)


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
