import numpy as np
import pytest

import training.evaluate
from tests.training.test_sources import records_of
from training.manifest import Record
from training.probe.sources_told import tell_sources

RECORDS = records_of(("a", 60, 0), ("b", 20, 30), ("c", 0, 40), ("few", 5, 4), ("", 9, 9))


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 100)


def features(records: tuple[Record, ...], strength: float, size: int = 20) -> np.ndarray:
    """Make features that hold the source as strongly as asked; float32 (N, size)."""
    rng = np.random.default_rng(0)
    sources = sorted({record.source for record in records})
    held = np.eye(size)[[sources.index(record.source) for record in records]]
    return (rng.normal(0, 1, (len(records), size)) + strength * held).astype(np.float32)


def test_features_that_hold_the_source_tell_it() -> None:
    told = tell_sources(features(RECORDS, 8.0), RECORDS)
    assert told
    assert told.balanced_accuracy.low > 0.9
    assert told.accuracy.value > told.majority_accuracy == 60 / 150
    assert told.majority_balanced_accuracy == pytest.approx(1 / 3)


def test_features_that_do_not_hold_it_tell_nothing() -> None:
    told = tell_sources(features(RECORDS, 0.0), RECORDS)
    assert told
    assert told.balanced_accuracy.low < 1 / 3
    assert told.balanced_accuracy.value < 0.4


def test_sources_with_too_few_groups_are_left_out_and_counted() -> None:
    told = tell_sources(features(RECORDS, 8.0), RECORDS)
    assert told
    assert told.images == {"a": 60, "b": 50, "c": 40}
    assert told.left_out == {"few": 9, "unknown": 18}


def test_one_source_alone_cannot_be_told() -> None:
    records = records_of(("a", 60, 10), ("few", 5, 4))
    assert tell_sources(features(records, 8.0), records) is None


def test_what_is_told_is_told_of_other_groups() -> None:
    """Features that name the group, and nothing of the source, must not tell it."""
    groups = [f"g{number}" for number in range(40) for _ in range(4)]
    sources = ["ab"[number % 2] for number in range(40) for _ in range(4)]
    records = tuple(
        Record(str(index), 0, group, source, "", "")
        for index, (group, source) in enumerate(zip(groups, sources, strict=True))
    )
    named = np.eye(40, dtype=np.float32)[[int(group[1:]) for group in groups]]
    told = tell_sources(10 * named, records)
    assert told
    assert told.balanced_accuracy.value < 0.7
