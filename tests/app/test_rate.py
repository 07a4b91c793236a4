"""What a key may send in a minute."""

import pytest

from app.keys import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600])
def test_a_minutes_worth_at_once_then_evenly(per_minute: int) -> None:
    clock = Clock()
    limit = RateLimit(per_minute, clock)
    assert [limit.take("a") for _ in range(per_minute)] == [0] * per_minute
    wait = limit.take("a")
    assert wait == pytest.approx(60 / per_minute)
    clock.now += wait / 2
    assert limit.take("a") == pytest.approx(wait / 2)
    clock.now += wait / 2
    assert limit.take("a") == 0
    assert limit.take("a") == pytest.approx(wait)


def test_a_refusal_costs_nothing_and_names_do_not_share() -> None:
    clock = Clock()
    limit = RateLimit(2, clock)
    assert [limit.take("a") for _ in range(10)].count(0) == 2
    assert limit.take("b") == 0
    clock.now += 30
    assert limit.take("a") == 0


def test_a_long_silence_fills_no_more_than_a_bucket() -> None:
    clock = Clock()
    limit = RateLimit(3, clock)
    limit.take("a")
    clock.now += 86_400
    assert [limit.take("a") > 0 for _ in range(4)] == [False, False, False, True]
