"""Which requests are let in: those that can be answered in time."""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.batching import Batcher
from app.errors import Overloaded
from app.metrics import Metrics
from app.settings import Settings
from app.upload_memory import UploadMemory

_SPREAD: Final = 1.5
"""Times the time in which all requests in progress should be answered: until when those who are refused come back."""

_IDLE_SECONDS: Final = 1.0
"""Without a request: after it the service gives back what the allocator kept of the last ones, 20 to 30 MB."""


class Admission:
    """Counts requests from their arrival to their answer, and refuses what would wait for too long.

    Used in the event loop alone.

    Attributes:
        requests: In progress.
    """

    def __init__(self, settings: Settings, metrics: Metrics, uploads: UploadMemory, rest: Callable[[], None]) -> None:
        """Count from zero; ``rest`` is called when there was no request for a second."""
        self._settings, self._metrics, self._uploads, self._rest = settings, metrics, uploads, rest
        self._resting: asyncio.TimerHandle | None = None
        self.requests = 0
        metrics.queue_limit.set(settings.max_queue)

    def overload(self, batcher: Batcher) -> Overloaded | None:
        """Return why another request must be refused, if it must: too many, or they would wait for too long.

        Nothing is done for one that need not: who asks may have no key.
        """
        if self._has_room(batcher) or self._uploads.slowest():
            return None
        requests, seconds = self._wanted, batcher.seconds_to_answer(self._wanted)
        # Spread, so that those who are refused together do not come back together.
        retry_after_s = max(1, math.ceil(seconds * random.uniform(1, _SPREAD)))  # noqa: S311
        return Overloaded(
            f"{requests} requests are in progress, as many as are answered in time. "
            f"Try again in {retry_after_s} s: by then they should be answered.",
            retry_after_s=retry_after_s,
        )

    @contextmanager
    def admit(self, batcher: Batcher) -> Iterator[None]:
        """Count a request in. Where it finds no room, the slowest sender gives way.

        Raises:
            Overloaded: As many requests as can be answered in time are in progress.
        """
        if error := self.overload(batcher):
            raise error
        if not self._has_room(batcher):
            self._uploads.cut_slowest()
        if self._resting:
            self._resting.cancel()
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
            if not self.requests:
                self._resting = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._rest)

    def _count(self, change: int) -> None:
        self.requests += change
        self._metrics.in_progress.set(self.requests)

    @property
    def _wanted(self) -> int:
        """Requests in progress, save those that give way because they are sent slowly."""
        return self.requests - self._uploads.leaving

    def _has_room(self, batcher: Batcher) -> bool:
        """Whether another request can be answered in time.

        However long one batch a stream takes, so many requests are admitted: no wrong estimate shuts the service.
        """
        requests, most = self._wanted, self._settings.max_queue
        if requests < min(most, batcher.images_at_a_time):
            return True
        return requests < most and batcher.seconds_to_answer(requests) <= self._settings.max_wait_ms / 1000
