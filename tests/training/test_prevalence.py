import numpy as np
import pytest

import training.evaluate
from app.errors import TrainingError
from training.prevalence import PREVALENCES, at_prevalences, check_prevalence, predictive_values

LABELS = np.repeat([0, 1], 40)
GROUPS = [str(number // 2) for number in range(80)]


@pytest.fixture(autouse=True)
def fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 100)


def answers(found: int, cleared: int) -> np.ndarray:
    """Call ``found`` of 40 positives and all but ``cleared`` of 40 negatives COVID-19."""
    return np.concatenate([np.arange(40) >= cleared, np.arange(40) < found]).astype(float)


def test_predictive_values_follow_bayes() -> None:
    """Of 1,000 with 20 ill: 18 found, 98 false alarms; 882 cleared, 2 missed."""
    positive, negative = predictive_values(np.array([0.9]), np.array([0.9]), 0.02)
    assert positive[0] == pytest.approx(18 / (18 + 98))
    assert negative[0] == pytest.approx(882 / (882 + 2))


def test_they_move_with_the_stated_prevalence_and_not_with_that_of_the_images() -> None:
    [rare, frequent] = at_prevalences(LABELS, answers(36, 36), 0.5, GROUPS, (0.02, 0.5))
    assert rare["positive"]["value"] == pytest.approx(18 / (18 + 98))
    assert frequent["positive"]["value"] == pytest.approx(0.9)
    twice = np.concatenate([np.arange(40), np.arange(40), np.arange(40, 80)])  # Negatives twice: another share here.
    [again] = at_prevalences(LABELS[twice], answers(36, 36)[twice], 0.5, [GROUPS[i] for i in twice], (0.02,))
    assert again["positive"]["value"] == pytest.approx(rare["positive"]["value"])


def test_intervals_hold_the_value() -> None:
    for of in at_prevalences(LABELS, answers(30, 35), 0.5, GROUPS):
        for kind in ("positive", "negative"):
            assert of[kind]["low"] < of[kind]["value"] < of[kind]["high"]
    assert PREVALENCES == (0.01, 0.05, 0.2)


def test_what_is_never_answered_has_no_predictive_value() -> None:
    [of] = at_prevalences(LABELS, np.zeros(80), 0.5, GROUPS, (0.1,))
    assert of["positive"] is None
    assert of["negative"]["value"] == pytest.approx(0.9)


def test_a_missing_class_leaves_nothing_to_estimate() -> None:
    [of] = at_prevalences(np.ones(80, int), answers(36, 36), 0.5, GROUPS, (0.1,))
    assert of == {"prevalence": 0.1, "positive": None, "negative": None}


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_what_is_no_prevalence_is_refused(prevalence: float) -> None:
    with pytest.raises(TrainingError, match="Give a share above 0 and below 1"):
        check_prevalence(prevalence)
