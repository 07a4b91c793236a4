"""When a request is sent again: what a file may spend on it, and how long to wait."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from app.client import Busy, ConnectionFailed

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 30.0

_Answer = TypeVar("_Answer")


class GivenUp(Exception):
    """The intake is to stop, and a request that was to be sent again was not."""


@dataclass(frozen=True)
class Limits:
    """What one file may spend, over all its requests.

    Attributes:
        retries: Requests that are sent again.
        seconds: Time from the first request; no further one begins later.
    """

    retries: int = 10
    seconds: float = 120


class Tries:
    """The requests of one file, which share its limits.

    Sent again is what got 429, 502, 503, 504 or no answer. The wait before is at least what ``Retry-After`` asks, and
    then a random part of a time that doubles with each retry ("full jitter"), so that the callers that were refused
    together do not come back together.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Attributes:
        began: When the first request was sent, on the monotonic clock.
        retries: Made so far.
    """

    def __init__(self, limits: Limits, stop: threading.Event) -> None:
        """Begin, with all of the limits left; nothing is sent again once ``stop`` is set."""
        self._limits, self._stop = limits, stop
        self.began = time.monotonic()
        self.retries = 0

    def run(self, request: Callable[[], _Answer]) -> _Answer:
        """Send a request until it is answered otherwise, or the limits are reached.

        Raises:
            Busy: The last answer, when a limit is reached.
            ConnectionFailed: Likewise.
            GivenUp: The intake stops.
            CxrError: An answer that is not to be asked for again.
        """
        while True:
            try:
                return request()
            except (Busy, ConnectionFailed) as error:
                delay = self._delay(error)
                left = self.began + self._limits.seconds - time.monotonic()
                if self.retries >= self._limits.retries or delay > left:
                    raise
                if self._stop.wait(delay):
                    raise GivenUp from error
                self.retries += 1

    def _delay(self, error: Busy | ConnectionFailed) -> float:
        longest = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2**self.retries)
        asked = (error.retry_after_s or 0) if isinstance(error, Busy) else 0
        jitter = random.uniform(0, longest)  # noqa: S311 - nothing secret hangs on it
        return asked + jitter
