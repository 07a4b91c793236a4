import numpy as np
import pytest
from numpy.typing import NDArray

import training.evaluate
from training.evaluate import (
    describe,
    fit_threshold,
    metrics_by_round,
    trivial_rules,
    with_intervals,
)
from training.manifest import Record

LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 0])
PROBABILITIES = np.array([0.1, 0.2, 0.6, 0.4, 0.7, 0.8, 0.9, 0.3])


@pytest.fixture
def fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 200)


def point_metrics(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> dict[str, float]:
    """Measure each image drawn once."""
    once = metrics_by_round(labels, probabilities, threshold, np.ones((1, len(labels)), np.int64))
    return {name: float(value[0]) for name, value in once.items()}


def test_point_metrics_equal_those_by_hand() -> None:
    """At 0.5: true positives .7 .8 .9, false negative .4, false positive .6, true negatives .1 .2 .3."""
    metrics = point_metrics(LABELS, PROBABILITIES, 0.5)
    assert metrics == pytest.approx(
        {
            "accuracy": 6 / 8,
            "sensitivity": 3 / 4,
            "specificity": 3 / 4,
            "f1_non-COVID": 6 / 8,
            "f1_COVID-19": 6 / 8,
            "roc_auc": 15 / 16,  # one of 16 pairs, .4 against .6, is in the wrong order
            "average_precision": (1 + 1 + 1 + 4 / 5) / 4,
            "brier": np.mean([0.01, 0.04, 0.36, 0.36, 0.09, 0.04, 0.01, 0.09]),
            # Every image is alone in its bin: the error is the mean |probability - label|.
            "expected_calibration_error": np.mean([0.1, 0.2, 0.6, 0.6, 0.3, 0.2, 0.1, 0.3]),
        }
    )


def test_the_threshold_itself_is_positive() -> None:
    assert point_metrics(LABELS, PROBABILITIES, 0.4)["sensitivity"] == 1
    assert point_metrics(LABELS, PROBABILITIES, 0.41)["sensitivity"] == 3 / 4


def test_f1_differs_between_classes() -> None:
    metrics = point_metrics(np.array([0, 0, 0, 1]), np.array([0.1, 0.1, 0.9, 0.9]), 0.5)
    assert metrics["f1_non-COVID"] == pytest.approx(4 / 5)
    assert metrics["f1_COVID-19"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("label", "missing"),
    [
        (1, {"specificity", "f1_non-COVID", "roc_auc", "average_precision"}),
        (0, {"sensitivity", "f1_COVID-19", "roc_auc", "average_precision"}),
    ],
)
@pytest.mark.usefixtures("fewer_rounds")
def test_what_needs_a_missing_class_is_left_out(label: int, missing: set[str]) -> None:
    labels = np.full(8, label)
    point = point_metrics(labels, PROBABILITIES, 0.5)
    assert {name for name, value in point.items() if np.isnan(value)} == missing
    assert with_intervals(labels, PROBABILITIES, 0.5, list("aabbccdd")).keys() == point.keys() - missing


def test_calibration_error_of_two_bins() -> None:
    labels = np.array([0, 1, 1, 1, 1, 0])
    probabilities = np.array([0.22, 0.28, 1.0, 1.0, 0.95, 0.92])
    assert point_metrics(labels, probabilities, 0.5)["expected_calibration_error"] == pytest.approx(
        (abs(0.5 - 1) + abs(3.87 - 3)) / 6
    )


@pytest.mark.usefixtures("fewer_rounds")
def test_intervals_hold_the_value_and_repeat() -> None:
    groups = list("abcdefgh")
    measured = with_intervals(LABELS, PROBABILITIES, 0.5, groups)
    assert measured == with_intervals(LABELS, PROBABILITIES, 0.5, groups)
    for metric in measured.values():
        assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1


@pytest.mark.usefixtures("fewer_rounds")
def test_intervals_resample_whole_groups() -> None:
    """Each image ten times: by group the interval is that of the single images, by image it is far narrower."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(60) % 2, 10)
    probabilities = np.repeat(np.clip(0.3 * (np.arange(60) % 2) + rng.uniform(0, 0.7, 60), 0, 1), 10)
    one_each = with_intervals(labels[::10], probabilities[::10], 0.5, [str(i) for i in range(60)])["accuracy"]
    by_group = with_intervals(labels, probabilities, 0.5, [str(i // 10) for i in range(600)])["accuracy"]
    by_image = with_intervals(labels, probabilities, 0.5, [str(i) for i in range(600)])["accuracy"]
    assert by_group["value"] == by_image["value"] == one_each["value"]
    width = [m["high"] - m["low"] for m in (one_each, by_group, by_image)]
    assert width[1] == pytest.approx(width[0], rel=0.25)
    assert width[2] < width[1] / 2


def test_fit_threshold_maximises_youdens_j() -> None:
    """.4 and above catch all four positives at the price of .6: J = 1 - 1/4, as .7 and above: 3/4 - 0."""
    assert fit_threshold(LABELS, PROBABILITIES) in (pytest.approx(0.35), pytest.approx(0.65))
    assert fit_threshold(np.array([0, 0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [([0.1, 0.2, 0.8, 0.9], 0.5), ([0.01, 0.02, 0.03, 0.04], 0.025), ([0.0, 0.0, 1.0, 1.0], 0.5)],
)
def test_perfect_separation_is_cut_half_way(probabilities: list[float], expected: float) -> None:
    assert fit_threshold(np.array([0, 0, 1, 1]), np.array(probabilities)) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_threshold_for_equal_probabilities_is_a_probability(value: float) -> None:
    assert 0 <= fit_threshold(np.array([0, 1, 0, 1]), np.full(4, value)) <= 1


def test_a_threshold_for_an_inverted_model_is_a_probability() -> None:
    assert 0 <= fit_threshold(np.array([1, 1, 0, 0]), np.array([0.1, 0.2, 0.8, 0.9])) <= 1


def values(*numbers: float) -> dict[str, NDArray[np.float64]]:
    return {"brightness": np.array(numbers)}


def test_a_trivial_rule_is_chosen_on_the_fitted_part_alone() -> None:
    labels = np.array([0, 0, 1, 1])
    fitted = (values(1, 2, 3, 4), labels)
    assert trivial_rules(fitted, (values(1, 2, 3, 4), labels)) == {"brightness": {"accuracy": 1, "roc_auc": 1}}
    assert trivial_rules(fitted, (values(4, 3, 2, 1), labels)) == {"brightness": {"accuracy": 0, "roc_auc": 0}}


def test_a_trivial_rule_finds_its_direction() -> None:
    labels = np.array([0, 0, 1, 1])
    rules = trivial_rules((values(9, 8, 2, 1), labels), (values(7, 6, 3, 2.5), labels))
    assert rules["brightness"] == {"accuracy": 0.5, "roc_auc": 1}  # The limit is the fitted part's: 2 and below.


def test_a_useless_rule_answers_the_commoner_class() -> None:
    labels = np.array([0, 0, 0, 1])
    assert trivial_rules((values(5, 5, 5, 5), labels), (values(5, 5, 5, 5), labels))["brightness"]["accuracy"] == 0.75


@pytest.mark.usefixtures("fewer_rounds")
def test_describe_counts_images_and_groups_and_measures_each_source() -> None:
    origin = ["both", "both", "a", "both", "both", "b", "b", "a"]
    records = [Record(f"{i}.png", int(LABELS[i]), f"g{i // 2}", origin[i], "", "") for i in range(8)]
    described = describe(records, PROBABILITIES, 0.5)
    assert described["images"] == {"non-COVID": 4, "COVID-19": 4}
    assert described["groups"] == {"non-COVID": 3, "COVID-19": 3}  # g1 and g3 hold both classes.
    assert {name: set(source["metrics"]) for name, source in described["sources"].items()} == {
        "a": {"specificity"},
        "b": {"sensitivity"},
        "both": {"sensitivity", "specificity", "roc_auc"},
    }
    assert described["sources"]["both"]["images"] == {"non-COVID": 2, "COVID-19": 2}
    assert described["sources"]["a"]["metrics"]["specificity"]["value"] == 0.5
