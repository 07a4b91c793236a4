import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import TrainingError
from app.outputs import Outputs
from training.golden import TOLERANCES, hidden_mistake, make_golden


def brightness(steepness: float) -> object:
    """Make a model whose COVID-19 probability follows the mean brightness."""

    def infer(images: NDArray[np.float32]) -> Outputs:
        positive = 1 / (1 + np.exp(-steepness * (images.mean(axis=(1, 2, 3)) - 0.4)))
        probabilities = np.stack([1 - positive, positive], axis=-1).astype(np.float32)
        heatmap = images[:, ::32, ::32, 0] / images[:, ::32, ::32, 0].max(axis=(1, 2), keepdims=True)
        return Outputs(probabilities, heatmap, images[:, 0, :8, 0])

    return infer


def test_golden_inputs_are_those_that_are_answered_most_decidedly() -> None:
    golden = make_golden(brightness(4))
    assert (golden.squares.shape, golden.squares.dtype) == ((3, 224, 224), np.uint8)
    margins = np.abs(golden.outputs.probabilities[:, 1] - golden.outputs.probabilities[:, 0])
    assert margins.tolist() == sorted(margins, reverse=True)
    assert margins.min() > 0.3
    assert max(golden.largest_difference(brightness(4)).values()) == 0


def test_golden_inputs_are_the_same_for_the_same_model() -> None:
    np.testing.assert_array_equal(make_golden(brightness(4)).squares, make_golden(brightness(4)).squares)


@pytest.mark.parametrize(
    ("steepness", "mistake"), [(0.0, "swapped labels"), (0.01, "swapped labels")], ids=["constant", "nearly constant"]
)
def test_a_model_that_decides_nothing_is_refused(steepness: float, mistake: str) -> None:
    with pytest.raises(TrainingError, match=f"{mistake} would not show"):
        make_golden(brightness(steepness))


def test_a_model_that_sees_no_scaling_is_refused() -> None:
    def infer(images: NDArray[np.float32]) -> Outputs:
        return brightness(4)(images / images.max(axis=(1, 2, 3), keepdims=True))

    with pytest.raises(TrainingError, match="a second division by 255 would not show"):
        make_golden(infer)


def test_a_mistake_hides_behind_a_tolerance_as_large_as_what_it_changes() -> None:
    infer = brightness(4)
    golden = make_golden(infer)
    swapped = np.abs(np.diff(golden.outputs.probabilities)).max()
    assert hidden_mistake(golden, infer, swapped + 1e-6) == "swapped labels"
    assert hidden_mistake(golden, infer, 0.1) is None


def test_the_margin_is_far_above_what_engines_differ_by() -> None:
    assert TOLERANCES["f32"] <= 1e-3
