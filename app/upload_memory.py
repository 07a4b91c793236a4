"""Uploads in memory, from their first byte until they are decoded: how much they hold, and who waits or gives way.

A slow sender must not keep others out. So reading has no slots: each upload has a share of the memory that nobody else
can take, and what a larger one needs beyond comes from what all have in common. While that is spent, uploads are not
read on, and TCP holds their senders back; only the oldest upload always goes on, so that they cannot wait for each
other. An upload that does not keep coming is cut off; the slowest one is so at once, where another needs its place.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from app.memory import give_back_free_memory

_JUDGED_AFTER_SECONDS: Final = 1.0
_SLOW_BYTES_PER_SECOND: Final = 100_000
"""A sender below it gives way where the service is full: in this time others are answered dozens of times."""


class Upload:
    """One upload.

    Attributes:
        held: Its bytes in memory.
        is_slow: It was cut off for being slow.
        is_waiting: It may not be read on before memory is free.
    """

    def __init__(self, memory: "UploadMemory", cut: Callable[[], None]) -> None:
        """Belong to a memory.

        Args:
            memory: Where it counts.
            cut: Ends the reading.
        """
        self._memory, self._cut = memory, cut
        self.held = 0
        self.is_slow = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_waiting = False
        self._restart()

    async def add(self, size: int) -> None:
        """Count bytes that were read, and wait until more may be."""
        self.held += size
        self._arrived += size
        if not self._memory.grant(self):
            self.is_waiting = True
            await self._memory.wait(self)
            self.is_waiting = False
            self._restart()

    def end_reading(self) -> None:
        """Note that it is whole, or will never be."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Give its memory back."""
        self.end_reading()
        self._memory.close(self)

    def cut_off(self) -> None:
        """End the reading, for being slow."""
        self.is_slow = True
        self._memory.note_cut(self)
        self.end_reading()
        self._cut()

    def rate(self, now: float) -> float | None:
        """Bytes a second of late; None where it cannot be judged: it is read, it waits for memory, or it is new."""
        seconds = now - self._since
        if self._timer is None or self.is_waiting or seconds < _JUDGED_AFTER_SECONDS:
            return None
        return self._arrived / seconds

    def _restart(self) -> None:
        """Begin a new time in which enough must come."""
        self.end_reading()
        loop = asyncio.get_running_loop()
        self._since, self._arrived = loop.time(), 0
        self._timer = loop.call_later(self._memory.period_seconds, self._check)

    def _check(self) -> None:
        if self.is_waiting or self._arrived >= self._memory.bytes_each_period:
            self._restart()
        else:
            self.cut_off()


class UploadMemory:
    """What all uploads hold together: the limit, and one upload more.

    Attributes:
        period_seconds: In each, ``bytes_each_period`` of an upload must come.
        bytes_each_period: See there.
    """

    def __init__(self, limit: int, uploads: int, period_seconds: float, bytes_each_period: int) -> None:
        """Share the memory out.

        Args:
            limit: Bytes.
            uploads: Most uploads at a time; half of the limit is shared out among them.
            period_seconds: See the attributes.
            bytes_each_period: See the attributes.
        """
        self._share = limit // 2 // uploads
        self._common = limit - self._share * uploads
        self.period_seconds, self.bytes_each_period = period_seconds, bytes_each_period
        self._granted: dict[Upload, int] = {}  # From what is common, in the order of arrival.
        self._leaving: set[Upload] = set()
        self._freed = asyncio.Event()
        self._was_large = False

    def open(self, cut: Callable[[], None]) -> Upload:
        """Begin an upload; ``cut`` ends its reading."""
        upload = Upload(self, cut)
        self._granted[upload] = 0
        return upload

    @property
    def leaving(self) -> int:
        """How many were cut off, and are not gone yet."""
        return len(self._leaving)

    def note_cut(self, upload: Upload) -> None:
        """See ``Upload.cut_off``."""
        self._leaving.add(upload)

    def close(self, upload: Upload) -> None:
        """See ``Upload.close``."""
        self._leaving.discard(upload)
        if self._granted.pop(upload, None) is not None:
            self._freed.set()
            self._freed = asyncio.Event()
            if not self._granted and self._was_large:
                self._was_large = False
                give_back_free_memory()

    def grant(self, upload: Upload) -> bool:
        """Let an upload hold what it holds, if it may."""
        needed = max(0, upload.held - self._share)
        others = sum(self._granted.values()) - self._granted[upload]
        if needed and needed + others > self._common and upload is not next(iter(self._granted)):
            return False
        self._granted[upload] = needed
        self._was_large = self._was_large or needed + others > self._common // 2
        return True

    async def wait(self, upload: Upload) -> None:
        """Wait until an upload may hold what it holds."""
        while not self.grant(upload):
            self.cut_slowest(lambda other: self._granted[other] > 0)
            try:
                async with asyncio.timeout(_JUDGED_AFTER_SECONDS):
                    await self._freed.wait()
            except TimeoutError:
                pass  # By now another one may be known to be slow.

    def slowest(self, among: Callable[[Upload], bool] = lambda _: True) -> Upload | None:
        """Return the slowest sender, if one is slow."""
        now = asyncio.get_running_loop().time()
        rates = {upload: rate for upload in self._granted if among(upload) and (rate := upload.rate(now)) is not None}
        slowest = min(rates, key=rates.__getitem__, default=None)
        return slowest if slowest and rates[slowest] <= _SLOW_BYTES_PER_SECOND else None

    def cut_slowest(self, among: Callable[[Upload], bool] = lambda _: True) -> bool:
        """Cut the slowest sender off, if one is slow."""
        if slowest := self.slowest(among):
            slowest.cut_off()
        return slowest is not None
