from dataclasses import replace

import numpy as np
import pytest

import training.evaluate
from tests.training.made_up_evidence import records
from training.breakdown import NOT_STATED, OTHERS, break_down, reliability
from training.evaluate import metrics_by_round


@pytest.fixture(autouse=True)
def fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 100)


def test_bins_hold_counts_means_and_shares() -> None:
    labels = np.array([0, 1, 0, 1, 1, 1, 1])
    probabilities = np.array([0.02, 0.04, 0.09, 0.11, 0.95, 0.97, 1.0])
    bins = reliability(labels, probabilities, list("abcdefg"))
    assert [(of["low"], of["high"], of["images"]) for of in bins] == [(0.0, 0.1, 3), (0.1, 0.2, 1), (0.9, 1.0, 3)]
    assert [of["mean_probability"] for of in bins] == pytest.approx([0.05, 0.11, 2.92 / 3])
    assert [of["share"]["value"] for of in bins] == pytest.approx([1 / 3, 1, 1])
    assert bins[0]["share"]["low"] < 1 / 3 < bins[0]["share"]["high"]
    assert (bins[2]["share"]["low"], bins[2]["share"]["high"]) == (1, 1)


def test_bins_add_up_to_the_calibration_error() -> None:
    rng = np.random.default_rng(3)
    labels, probabilities = rng.integers(0, 2, 200), rng.uniform(0, 1, 200)
    bins = reliability(labels, probabilities, [str(i) for i in range(200)])
    error = sum(of["images"] * abs(of["mean_probability"] - of["share"]["value"]) for of in bins) / 200
    measured = metrics_by_round(labels, probabilities, 0.5, np.ones((1, 200), np.int64))["expected_calibration_error"]
    assert error == pytest.approx(measured[0])


def test_view_age_and_sex_are_rows_and_so_is_what_is_not_stated() -> None:
    of = [
        replace(record, view=("AP", "AP", "PA", "")[i % 4], age=("30", "065Y", "")[i % 3], sex="F" if i < 10 else "")
        for i, record in enumerate(records(24))
    ]
    probabilities = np.linspace(0.1, 0.9, 24)
    described = break_down(of, probabilities, 0.5, (0.1,))
    assert list(described["views"]) == ["AP", "PA", NOT_STATED]
    assert list(described["ages"]) == ["18 to 39", "60 to 79", NOT_STATED]
    assert list(described["sexes"]) == ["F", NOT_STATED]
    assert described["views"]["AP"]["images"] == {"non-COVID": 6, "COVID-19": 6}
    assert described["views"]["AP"]["groups"] == {"non-COVID": 6, "COVID-19": 6}
    assert described["views"]["PA"]["metrics"].keys() == {"specificity"}  # Every third is of class 0.
    assert described["predictive_values"][0]["prevalence"] == 0.1


def test_rare_values_are_gathered() -> None:
    of = [replace(record, view=f"view {i // 2}") for i, record in enumerate(records(24))]
    described = break_down(of, np.linspace(0.1, 0.9, 24), 0.5)
    assert len(described["views"]) == 9
    assert described["views"][OTHERS]["images"] == {"non-COVID": 4, "COVID-19": 4}
