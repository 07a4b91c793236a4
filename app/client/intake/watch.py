"""A watched folder: files are taken once they have settled."""

import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.client.intake.files import Own, Selected, select
from app.client.intake.once import Once, digest_of

_RETRY_SECONDS: Final = 60.0
"""After which a file that failed for a reason that may pass is offered again."""


class Watch:
    """Looks into a folder again and again, and offers each file once size and time of change stood still.

    The times that files carry are compared with each other alone, since the clock of a file server is not ours, and
    a file that is being copied may already carry the time of its original.

    Attributes:
        unsettled: Files that waited at the last look.
    """

    def __init__(
        self, folder: str, own: Own, settle_seconds: float, stop: threading.Event, *, idle: Callable[[], None]
    ) -> None:
        """Set up.

        Args:
            folder: What to watch, with the folders in it.
            own: What is never to be sent.
            settle_seconds: How long a file must not change; the folder is looked at twice in this time.
            stop: Ends it.
            idle: Called after each look that found nothing to offer.
        """
        self._folder, self._own, self._settle_seconds = folder, own, settle_seconds
        self._stop, self._idle = stop, idle
        self._once = Once()
        self._postponed: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.unsettled = 0

    def files(self) -> Generator[Selected]:
        """Offer files until the watch is stopped."""
        with closing(self._once):
            while not self._stop.is_set():
                offered = 0
                for found in self._look():
                    offered += 1
                    yield found
                if not offered:
                    self._idle()
                self._stop.wait(self._settle_seconds / 2)

    def postpone(self, selected: Selected) -> None:
        """Offer a file again after a while, although it did not change; any thread may call this."""
        self._postponed.put(selected.state)

    def _look(self) -> Iterator[Selected]:
        while not self._postponed.empty():
            due = time.monotonic() + _RETRY_SECONDS - self._settle_seconds
            self._once.set_since(self._postponed.get(), due)
        waiting = 0
        for found in select([self._folder], self._own):
            state = _state(found)
            if state is None:
                continue
            now = time.monotonic()
            since = self._once.since(state, now)
            if now - since >= self._settle_seconds:
                self._once.set_since(state, math.inf)
                yield replace(found, state=state)
            elif since < math.inf:
                waiting += 1
        self.unsettled = waiting


def _state(found: Selected) -> bytes | None:
    """Digest what must stand still; None for what has gone again, and for what nobody expects to be sent."""
    if found.problem or found.skip:
        is_worth_telling = found.problem or (found.skip and found.skip.is_loud)
        return digest_of(found.path, found.problem, str(found.skip)) if is_worth_telling else None
    try:
        status = Path(found.path).stat()
    except OSError:
        try:
            status = Path(found.path).lstat()  # a link to nothing
        except OSError:
            return None
    return digest_of(found.path, status.st_size, status.st_mtime_ns)
