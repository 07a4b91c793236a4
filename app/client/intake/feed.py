"""Files to a bounded number of threads, until there are no more or the intake is to stop."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from app.client.intake.errors import SOME_FAILED
from app.client.intake.files import Selected
from app.client.intake.records import Outcome, Record
from app.client.intake.report import Report
from app.client.intake.retry import GivenUp

_LOOK_SECONDS: Final = 0.5
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Feed:
    """What came of a selection.

    Attributes:
        selected: Files that were to be sent, as far as they were looked for.
        finished: Of these, those that have their record.
        is_exhausted: There were no more.
        interrupted: A signal stopped it.
        error: Why it stopped otherwise.
    """

    selected: int = 0
    finished: int = 0
    is_exhausted: bool = False
    interrupted: bool = False
    error: BaseException | None = None

    @property
    def left(self) -> int:
        """Files without a record, since the intake had to stop."""
        return self.selected - self.finished


class _Interrupt:
    """Handler of a first signal: raises ``KeyboardInterrupt``, but never while a thread is being started.

    There it would leave a thread that runs and that the pool does not know, and so does not wait for.
    """

    def __init__(self) -> None:
        self._is_held = self._came = False

    def __call__(self, *_: Any) -> None:
        if not self._is_held:
            raise KeyboardInterrupt
        self._came = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it back for a moment."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._came:
            raise KeyboardInterrupt


class _Feeder:
    def __init__(
        self,
        handle: Callable[[Selected], Record],
        report: Report,
        stop: threading.Event,
        postpone: Callable[[Selected], None] | None,
    ) -> None:
        self._handle, self.report, self._stop, self._postpone = handle, report, stop, postpone
        self._lock = threading.Lock()
        self.feed = Feed()

    def work(self, selected: Selected) -> None:
        try:
            record = self._handle(selected)
            if record.outcome is Outcome.FAILED and self._postpone:
                self._postpone(selected)
            with self._lock:
                self.feed.finished += 1
            self.report.finished(record)
        except GivenUp:
            pass
        except BaseException as error:
            with self._lock:
                self.feed.error = self.feed.error or error
            self._stop.set()


def feed(
    selection: Iterable[Selected],
    handle: Callable[[Selected], Record],
    *,
    concurrency: int,
    report: Report,
    stop: threading.Event,
    postpone: Callable[[Selected], None] | None = None,
) -> Feed:
    """Handle files on threads, as many at a time as ``concurrency``; no more are looked for than are handled.

    A first SIGINT or SIGTERM stops it: what is in flight is finished and recorded. A second one ends the process
    at once, which the ledger endures.

    Args:
        selection: Files, and what is left out.
        handle: Sees to one file; anything it raises but ``GivenUp`` stops the feed.
        concurrency: Threads.
        report: Is told of each.
        stop: Set when the feed is to stop, by it or by others.
        postpone: Called with files that failed.
    """
    feeder = _Feeder(handle, report, stop, postpone)
    interrupt = _Interrupt()
    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        with ThreadPoolExecutor(concurrency, thread_name_prefix="intake") as pool:
            try:
                _submit(selection, feeder, pool, concurrency, stop, interrupt)
            except KeyboardInterrupt:
                for number in _SIGNALS:
                    signal.signal(number, _end_at_once)
                feeder.feed.interrupted = True
                stop.set()
                report.say("Stopping: what is in flight is finished. Once more ends it at once.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return feeder.feed


def _submit(
    selection: Iterable[Selected],
    feeder: _Feeder,
    pool: ThreadPoolExecutor,
    concurrency: int,
    stop: threading.Event,
    interrupt: _Interrupt,
) -> None:
    free = threading.Semaphore(concurrency)
    for selected in selection:
        if selected.skip:
            feeder.report.skipped(selected)
            continue
        feeder.feed.selected += 1
        _take(free)
        if stop.is_set():
            return
        with interrupt.held():
            pool.submit(feeder.work, selected).add_done_callback(lambda _: free.release())
    feeder.feed.is_exhausted = True
    for _ in range(concurrency):  # until the last one is finished
        _take(free)


def _take(free: threading.Semaphore) -> None:
    while not free.acquire(timeout=_LOOK_SECONDS):  # a wait without end cannot be interrupted on Windows
        pass


def _end_at_once(*_: Any) -> None:
    os._exit(SOME_FAILED)
