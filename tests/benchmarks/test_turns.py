"""Turns and figures."""

import numpy as np
import pytest

from benchmarks.harness.turns import in_turn, print_ratio, steady_rate


def test_measures_take_turns() -> None:
    order: list[str] = []
    measures = [lambda name=name: order.append(name) or len(order) for name in "AB"]
    assert list(in_turn(2, *measures)) == [(1, 2), (3, 4)]
    assert order == list("ABAB")


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("cut_off", [0, 3])
def test_the_rate_does_not_depend_on_how_the_last_batch_was_cut_off(batch_size: int, cut_off: int) -> None:
    times = np.repeat(100 + 0.5 * np.arange(40), batch_size)[cut_off : 40 * batch_size - cut_off]
    assert steady_rate(times.tolist()) == pytest.approx(2 * batch_size, rel=0.01)


def test_the_slow_start_does_not_count() -> None:
    slow, steady = np.linspace(0, 1, 3), 1 + 0.01 * np.arange(1, 2000)
    assert steady_rate([*slow, *steady]) == pytest.approx(100, rel=0.001)


def test_a_round_that_is_too_short_says_so() -> None:
    with pytest.raises(SystemExit, match="--seconds"):
        steady_rate([1.0, 1.0, 1.0, 2.0])


def test_a_ratio_is_of_the_same_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_ratio("a / b", [10, 100, 1000], [5, 20, 1000]) == 2
    assert "2.000 (1.000 to 5.000, n=3)" in capsys.readouterr().out
