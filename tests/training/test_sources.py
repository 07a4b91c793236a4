from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import training.evaluate
from tests.training.test_splits import manifest_of
from training.manifest import Record
from training.sources import (
    Answered,
    compared,
    measure,
    measure_difference,
    measure_view_rule,
    sources_with_both_classes,
    within,
)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 50)


def records_of(*counts: tuple[str, int, int]) -> tuple[Record, ...]:
    """Make so many images of each source and class, each its own group: (source, non-COVID, COVID-19)."""
    rows = [
        (label, f"{source}-{label}-{number}", source)
        for source, *of_class in counts
        for label, count in enumerate(of_class)
        for number in range(count)
    ]
    return manifest_of(*rows).records


def answered(records: Sequence[Record], skill: float = 1.0, seed: int = 0, threshold: float = 0.5) -> Answered:
    """Answer at random, the higher the skill the better."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, len(records)) + skill * (2 * np.array([r.label for r in records]) - 1)
    return Answered(tuple(records), 1 / (1 + np.exp(-logits)), np.full(len(records), threshold))


RECORDS = records_of(("a", 40, 0), ("b", 20, 30), ("c", 0, 40), ("d", 4, 30), ("", 9, 9))


def test_sources_need_images_enough_of_both_classes_and_a_name() -> None:
    assert sources_with_both_classes(RECORDS) == ["b"]
    assert compared(RECORDS) == ["accuracy", "roc_auc", within("b")]


def test_the_auc_within_a_source_is_that_of_its_images() -> None:
    answers = answered(RECORDS)
    inside = answers.of(np.array([record.source == "b" for record in RECORDS]))
    figure = measure(answers)[within("b")]
    assert figure["value"] == pytest.approx(roc_auc_score(inside.labels, inside.probabilities))
    assert figure["low"] < figure["value"] < figure["high"]


def test_telling_the_source_alone_is_chance_within_it() -> None:
    """The failure that this figure is for: a high AUC over all, from sources of one class each."""
    by_source = {"a": 0.1, "b": 0.5, "c": 0.9, "d": 0.9, "": 0.5}
    probabilities = np.array([by_source[record.source] for record in RECORDS])
    measured = measure(Answered(RECORDS, probabilities, np.full(len(RECORDS), 0.5)))
    assert measured["roc_auc"]["value"] > 0.8
    assert measured[within("b")]["value"] == 0.5


def test_every_image_is_answered_at_its_own_threshold() -> None:
    answers = answered(RECORDS)
    half = np.arange(len(RECORDS)) % 2 == 0
    mixed = Answered(RECORDS, answers.probabilities, np.where(half, 0.3, 0.7))
    right = (mixed.probabilities >= np.where(half, 0.3, 0.7)) == (mixed.labels == 1)
    assert measure(mixed)["accuracy"]["value"] == pytest.approx(right.mean())


def test_differences_are_paired() -> None:
    better, worse = answered(RECORDS, 2.0), answered(RECORDS, 0.2, seed=1)
    of_interest = compared(RECORDS)
    difference = measure_difference(better, worse, of_interest)
    assert list(difference) == of_interest
    for name in of_interest:
        assert difference[name]["value"] == pytest.approx(
            measure(better)[name]["value"] - measure(worse)[name]["value"]
        )
    assert difference["roc_auc"]["low"] > 0
    same = measure_difference(better, better, of_interest)
    assert all(of == {"value": 0, "low": 0, "high": 0} for of in same.values())


def with_views(records: Sequence[Record], *views: str) -> list[Record]:
    """Give the images of each class these views in turn: (non-COVID, COVID-19), each in so many words."""
    turns = [cycle(of_class.split(", ")) for of_class in views]
    return [replace(record, view=next(turns[record.label])) for record in records]


def test_the_view_alone_is_worth_what_ap_says_of_the_class() -> None:
    records = with_views(records_of(("b", 20, 30)), "AP, PA, PA, PA", "AP supine, ap, AP erect, PA, PA")
    figure = measure_view_rule(records)["b"]
    # AP are 5 of 20 and 18 of 30: 0.75 x 0.6 of the pairs in order, 0.25 x 0.6 + 0.75 x 0.4 tied.
    assert figure.value == pytest.approx(0.45 + 0.45 / 2)
    assert figure.low < figure.value < figure.high


@pytest.mark.parametrize("views", [("", ""), ("PA", "frontal, not stated"), ("LL", "AP")])
def test_without_views_of_both_classes_there_is_no_such_rule(views: tuple[str, str]) -> None:
    assert measure_view_rule(with_views(records_of(("b", 20, 30)), *views)) == {}


def test_images_without_a_view_are_left_out_of_the_rule() -> None:
    viewed = with_views(records_of(("b", 10, 10)), "PA", "AP")
    unknown = with_views(records_of(("b", 10, 10), ("c", 10, 10)), "", "")
    assert {name: figure.value for name, figure in measure_view_rule([*viewed, *unknown]).items()} == {"b": 1.0}
