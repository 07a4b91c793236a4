"""A bounded queue that gathers concurrent requests into calls of the engine.

Images come in from the threads that decode them. Threads of the batcher take them out, a full batch at a time
where as many wait, else one by one: the network is compiled for these two sizes. Where the images that wait and
those that are being decoded would fill a batch, the first of them waits for the others, for a bounded time; an
image with nobody behind it never waits.
"""

import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import InferenceFailed
from app.metrics import Metrics
from app.outputs import Outputs

logger = logging.getLogger(__name__)

Square = NDArray[np.uint8]
"""Grey levels, uint8 (224, 224)."""

_RATE_BATCHES: Final = 15
"""Of the last so many batches the median says what an image takes: a few that waited for a slow decoder do not."""


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """What the engine answered for one image.

    Attributes:
        outputs: Of the network, with N = 1.
        seconds: The engine's call took, of the whole batch.
    """

    outputs: Outputs
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    square: Square
    since: float
    future: "Future[Inferred]" = field(default_factory=Future)


class Place:
    """The place of an image that is being decoded in the queue that it will join."""

    def __init__(self, batcher: "Batcher") -> None:
        """Belong to a batcher, which announces the place."""
        self._batcher = batcher
        self.queued: Future[Inferred] | None = None

    def take(self, square: Square) -> "Future[Inferred]":
        """Queue the image, from any thread.

        Args:
            square: uint8 (224, 224).

        Returns:
            Ends with ``InferenceFailed`` where the engine raised. Cancelled, it takes the image out of the queue
            again, unless that is being computed. It is cancelled already where the place was given up.
        """
        return self._batcher.submit(square, self)


class Batcher:
    """Gathers images into batches and computes these on threads of its own."""

    def __init__(
        self,
        infer: Callable[[Sequence[Square]], Outputs],
        metrics: Metrics,
        *,
        batch_size: int,
        max_delay_seconds: float,
        streams: int = 1,
    ) -> None:
        """Start the threads.

        Args:
            infer: Computes a batch; called from ``streams`` threads.
            metrics: Of the service.
            batch_size: A batch closes at this size.
            max_delay_seconds: It also closes when its first image has waited for so long.
            streams: Batches computed beside each other.
        """
        self._infer, self._metrics = infer, metrics
        self._batch_size, self._max_delay_seconds, self._streams = batch_size, max_delay_seconds, streams
        self._waiting: deque[_Waiting] = deque()
        self._coming: set[Place] = set()
        self._closed = False
        self._changed = threading.Condition()
        self._last_seconds: deque[float] = deque(maxlen=_RATE_BATCHES)
        self._seconds_per_image = 0.0
        self._in_vain_until = 0.0
        metrics.queue_depth.set_function(lambda: len(self._waiting))
        self._threads = [threading.Thread(target=self._work, name=f"infer-{n}") for n in range(streams)]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Announce an image that is being decoded, so that others may wait for it.

        Left by an exception, the place takes its image along, where that was queued in the same moment.
        """
        place = Place(self)
        with self._changed:
            self._coming.add(place)
        try:
            yield place
        except BaseException:
            self._give_up(place)
            if place.queued:
                place.queued.cancel()
            elif not self._coming:
                self._in_vain_until = time.perf_counter()
            raise
        self._give_up(place)

    def _give_up(self, place: "Place") -> None:
        with self._changed:
            self._coming.discard(place)
            self._changed.notify_all()

    def submit(self, square: Square, place: "Place") -> "Future[Inferred]":
        """Queue an image at its announced place; see ``Place.take``."""
        waiting = _Waiting(square, time.perf_counter())
        with self._changed:
            if place in self._coming:
                self._coming.remove(place)
                place.queued = waiting.future
                self._waiting.append(waiting)
                self._changed.notify_all()
            else:
                waiting.future.cancel()
        return waiting.future

    @property
    def images_at_a_time(self) -> int:
        """A full batch for each thread."""
        return self._batch_size * self._streams

    def seconds_to_answer(self, images: int) -> float:
        """Estimate how long so many images take, from what the last ones took; 0 before the first."""
        return images * self._seconds_per_image

    def close(self) -> None:
        """Answer what waits, then stop the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        since: float | None = None
        while batch := self._take():
            # A caller that has gone has cancelled; from here on it cannot any more.
            if wanted := [waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()]:
                since = self._compute(wanted, since)

    def _take(self) -> list[_Waiting]:
        """Wait for a batch to close and take it out; empty when there will be no more."""
        with self._changed:
            while not (size := self._closing_size()):
                if self._closed and not self._waiting:
                    return []
                self._changed.wait(self._patience())
            return [self._waiting.popleft() for _ in range(size)]

    def _closing_size(self) -> int:
        """Return how many images to take now; 0 to wait."""
        self._waiting = deque(waiting for waiting in self._waiting if not waiting.future.cancelled())
        if len(self._waiting) >= self._batch_size:
            return self._batch_size
        patience = self._patience()
        return 1 if self._waiting and (patience is None or patience <= 0 or self._closed) else 0

    def _patience(self) -> float | None:
        """Return for how many seconds the first image should wait for others; None if for none."""
        if not self._waiting or len(self._waiting) + len(self._coming) < self._batch_size:
            return None
        return self._waiting[0].since + self._max_delay_seconds - time.perf_counter()

    def _compute(self, batch: list[_Waiting], busy_since: float | None) -> float | None:
        """Compute a batch on a thread that has had work since then; return since when it has from now on."""
        start = time.perf_counter()
        try:
            outputs = self._infer([waiting.square for waiting in batch])
            seconds = time.perf_counter() - start
            answers = [Inferred(outputs.only(index), seconds) for index in range(len(batch))]
        except Exception as error:
            self._fail(batch, error)
            return None
        end = start + seconds
        # While images wait or are being decoded, the time between batches is theirs too: decoding shares the cores.
        # Time that ended with none, as where a decoder hung, is not: others would be refused for it.
        if busy_since is None or busy_since < self._in_vain_until:
            busy_since = start
        self._note_rate((end - busy_since) / len(batch) / self._streams)
        self._metrics.batch_size.observe(len(batch))
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.future.set_result(answer)
        with self._changed:
            return end if self._waiting or self._coming else None

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        self._metrics.engine_failures.inc()
        if not isinstance(error, InferenceFailed):
            # Whatever it is, it is not the upload's fault, and the threads must go on.
            cause, error = error, InferenceFailed(f"The engine raised {type(error).__name__}.")
            error.__cause__ = cause
        for waiting in batch:
            waiting.future.set_exception(error)

    def _note_rate(self, seconds_per_image: float) -> None:
        with self._changed:
            self._last_seconds.append(seconds_per_image)
            self._seconds_per_image = statistics.median(self._last_seconds)
