import threading

import pytest

from app.client import Busy, ConnectionFailed
from app.client.intake.retry import GivenUp, Limits, Tries


class Waits(threading.Event):
    """Notes how long it is waited for, and that costs no time."""

    def __init__(self, is_set: bool = False) -> None:
        super().__init__()
        self.seconds: list[float] = []
        if is_set:
            self.set()

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        return self.is_set()


def busy(retry_after_s: float | None = None) -> Busy:
    return Busy(503, "overloaded", "t", "d", retry_after_s=retry_after_s)


def fail(error: Exception) -> None:
    raise error


def test_waits_grow_by_doubling_to_a_longest_and_are_spread() -> None:
    spread = []
    for _ in range(50):
        waits = Waits()
        with pytest.raises(ConnectionFailed):
            Tries(Limits(9, 1e6), waits).run(lambda: fail(ConnectionFailed("")))
        assert all(0 <= wait <= min(30, 0.5 * 2**n) for n, wait in enumerate(waits.seconds))
        assert len(waits.seconds) == 9
        spread.append(waits.seconds[3])
    assert max(spread) - min(spread) > 1  # of 0..4 s; fails by chance once in 1e28


def test_retry_after_is_the_least_wait() -> None:
    waits = Waits()
    with pytest.raises(Busy):
        Tries(Limits(5, 1e6), waits).run(lambda: fail(busy(7)))
    assert min(waits.seconds) >= 7


def test_time_is_a_limit() -> None:
    waits = Waits()
    with pytest.raises(Busy):
        Tries(Limits(5, 6), waits).run(lambda: fail(busy(7)))
    assert waits.seconds == []


def test_requests_of_a_file_share_its_limits() -> None:
    tries, waits, left = None, Waits(), [busy(), busy()]
    tries = Tries(Limits(3, 1e6), waits)
    assert tries.run(lambda: fail(left.pop()) if left else "answer") == "answer"
    with pytest.raises(Busy):
        tries.run(lambda: fail(busy()))
    assert (tries.retries, len(waits.seconds)) == (3, 3)


def test_nothing_is_sent_again_once_the_intake_stops() -> None:
    sent = []
    with pytest.raises(GivenUp):
        Tries(Limits(), Waits(is_set=True)).run(lambda: sent.append(1) or fail(busy()))
    assert sent == [1]
