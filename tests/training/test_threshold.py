import numpy as np
import pytest

from app.errors import TrainingError
from training.evaluate import THRESHOLD_RULE, fit_threshold
from training.threshold import choose_threshold

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
PROBABILITIES = np.array([0.1, 0.3, 0.5, 0.7, 0.2, 0.6, 0.8, 0.9], np.float32)


def test_without_a_sensitivity_youdens_j_chooses() -> None:
    chosen = choose_threshold(LABELS, PROBABILITIES)
    assert chosen.value == fit_threshold(LABELS, PROBABILITIES)
    assert chosen.rule == THRESHOLD_RULE
    assert chosen.choice["rule"] == "youden"


@pytest.mark.parametrize(
    ("asked", "threshold", "reached", "specificity"),
    [
        (0.25, 0.85, 0.25, 1.0),  # between .9 and .8
        (0.26, 0.75, 0.5, 1.0),
        (0.5, 0.75, 0.5, 1.0),
        (0.75, 0.55, 0.75, 0.75),
        (0.76, 0.15, 1.0, 0.25),
        (1.0, 0.15, 1.0, 0.25),
    ],
)
def test_the_highest_threshold_that_reaches_a_sensitivity_is_chosen(
    asked: float, threshold: float, reached: float, specificity: float
) -> None:
    chosen = choose_threshold(LABELS, PROBABILITIES, asked)
    assert chosen.value == pytest.approx(threshold)
    assert (chosen.choice["sensitivity"], chosen.choice["specificity"]) == (reached, specificity)
    assert chosen.choice["youden"]["threshold"] == fit_threshold(LABELS, PROBABILITIES)
    for said in (
        f"at least {asked:g}",
        f"it has {reached:.3f}",
        f"specificity of {specificity:.3f}",
        "Youden's J would",
    ):
        assert said in chosen.rule


def test_a_share_of_images_is_not_missed_by_a_rounding() -> None:
    labels = np.repeat([0, 1], 20)
    probabilities = np.concatenate([np.full(20, 0.01), np.arange(1, 21) / 21])
    assert choose_threshold(labels, probabilities, 0.95).choice["sensitivity"] == 0.95
    assert choose_threshold(labels, probabilities, 0.15).choice["sensitivity"] == 0.15


def test_equal_probabilities_are_called_alike() -> None:
    labels, probabilities = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.5, 0.5, 0.5])
    assert choose_threshold(labels, probabilities, 0.3).choice["sensitivity"] == 1


def test_a_threshold_that_calls_everything_is_refused_with_what_can_be_had() -> None:
    labels, probabilities = np.array([0, 0, 1, 1]), np.array([0.5, 0.6, 0.1, 0.9])
    with pytest.raises(TrainingError, match=r"only by calling every image COVID-19.*Youden's J gives 0\.500 at"):
        choose_threshold(labels, probabilities, 0.9)


@pytest.mark.parametrize("asked", [0.0, -0.5, 1.01, 95.0, float("nan")])
def test_what_is_no_sensitivity_is_refused(asked: float) -> None:
    with pytest.raises(TrainingError, match="Give a share above 0 and at most 1"):
        choose_threshold(LABELS, PROBABILITIES, asked)
