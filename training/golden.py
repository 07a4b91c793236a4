"""Synthetic inputs that tell a faithful engine from a wrong one."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from app.errors import TrainingError
from app.imaging import IMAGE_SIZE, to_network_input
from app.outputs import Golden, Infer, Outputs

TOLERANCES: Final = {"f32": 1e-3}
"""Largest difference from the golden outputs. Two engines in float32 differ by about 1e-5 (tests/contract)."""

_CANDIDATES: Final = 16
_KEPT: Final = 3
_MARGIN: Final = 10


def make_golden(infer: Infer) -> Golden:
    """Choose synthetic inputs on which mistakes show, with the outputs of a model.

    Of random smooth images those are kept whose two probabilities differ most, so that swapped labels
    show, and whose heatmap is not numerically empty.

    Raises:
        TrainingError: The model answers so evenly that swapped labels or a second scaling would pass.
    """
    candidates = _synthetic_squares()
    outputs = infer(to_network_input(candidates))
    decided = np.abs(outputs.probabilities[:, 1] - outputs.probabilities[:, 0])
    decided[outputs.heatmap.max(axis=(1, 2)) < 0.5] = 0
    kept = np.argsort(decided)[::-1][:_KEPT]
    golden = Golden(
        candidates[kept], Outputs(outputs.probabilities[kept], outputs.heatmap[kept], outputs.features[kept])
    )
    if mistake := hidden_mistake(golden, infer, _MARGIN * TOLERANCES["f32"]):
        raise TrainingError(
            f"The model answers the golden inputs so evenly that {mistake} would not show: an engine that runs it "
            "wrongly would not be found out. Models that give every image one answer do that. Look at its "
            "validation accuracy, and export another run or train this one further."
        )
    return golden


def hidden_mistake(golden: Golden, infer: Infer, least: float) -> str | None:
    """Name a mistake that golden outputs would not show; None where each one shows.

    Args:
        golden: Inputs and outputs of a model.
        infer: A faithful engine, in which the mistakes are made.
        least: Difference of a probability, 0..1, from which on a mistake is taken to show.
    """
    mistakes: dict[str, Callable[[NDArray[np.float32]], Outputs]] = {
        "swapped labels": lambda images: _swap_labels(infer(images)),
        "a second division by 255": lambda images: infer(images / np.float32(255)),
    }
    for name, wrong in mistakes.items():
        if golden.largest_difference(wrong)["probabilities"] < least:
            return name
    return None


def _swap_labels(outputs: Outputs) -> Outputs:
    return Outputs(outputs.probabilities[:, ::-1], outputs.heatmap, outputs.features)


def _synthetic_squares() -> NDArray[np.uint8]:
    """Make smooth random images of several grains and ranges, uint8 (16, 224, 224)."""
    rng = np.random.default_rng(20201)
    squares = []
    for index in range(_CANDIDATES):
        noise = gaussian_filter(
            rng.standard_normal((IMAGE_SIZE, IMAGE_SIZE)), sigma=2 + 3 * (index % 6), mode="reflect"
        )
        low, high = sorted(rng.uniform(0, 255, 2))
        spread = (noise - noise.min()) / (noise.max() - noise.min())
        squares.append(np.rint(low + spread * (high - low)).astype(np.uint8))
    return np.stack(squares)
