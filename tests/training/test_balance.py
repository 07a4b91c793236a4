import numpy as np
import pytest

from training.balance import balanced_weights
from training.manifest import Record

PAIRS = [("mixed", 0)] * 2 + [("mixed", 1)] * 8 + [("negatives", 0)] * 32


def records() -> list[Record]:
    return [Record(f"{i}.png", label, str(i), source, "", "") for i, (source, label) in enumerate(PAIRS)]


def test_no_power_is_no_weights() -> None:
    assert balanced_weights(records(), 0) is None


def test_at_full_power_every_pair_of_source_and_class_weighs_the_same() -> None:
    weights = balanced_weights(records(), 1)
    assert weights is not None
    assert (weights.dtype, weights.mean()) == (np.float32, pytest.approx(1))
    assert weights[:2].sum() == pytest.approx(weights[2:10].sum()) == pytest.approx(weights[10:].sum())


def test_at_half_power_the_weight_goes_with_the_root() -> None:
    weights = balanced_weights(records(), 0.5)
    assert weights is not None
    assert weights[0] / weights[2] == pytest.approx(2)
    assert weights[0] / weights[10] == pytest.approx(4)
