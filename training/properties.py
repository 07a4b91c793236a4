"""Properties of an image that say nothing about a lung: what a trivial rule can go by."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.evaluate import trivial_rules
from training.images import map_images
from training.manifest import Record

Preprocessed = tuple[Sequence[Record], NDArray[np.uint8]]
"""N images and the squares that a model sees of them, uint8 (N, S, S)."""


def measure_trivial_rules(
    root: Path, fitted_on: Preprocessed, measured_on: Preprocessed
) -> dict[str, dict[str, float]]:
    """Measure what a rule on each trivial property reaches.

    Args:
        root: The data folder.
        fitted_on: Images that choose a rule's direction and threshold; both classes are among them.
        measured_on: Images that it is measured on.

    Returns:
        As ``evaluate.trivial_rules``.
    """
    fitted = _measured(root, *fitted_on)
    return trivial_rules(fitted, fitted if measured_on is fitted_on else _measured(root, *measured_on))


def _measured(
    root: Path, records: Sequence[Record], squares: NDArray[np.uint8]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    return trivial_properties(root, records, squares), np.array([record.label for record in records])


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
