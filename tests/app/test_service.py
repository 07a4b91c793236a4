"""The way of an upload through the service, where no caller on a socket can bring it about at will."""

import asyncio
from contextlib import suppress
from typing import Never

import numpy as np
import pytest

from app.errors import BodyTooSlow, DeadlinePassed
from app.metrics import Metrics
from app.service import Service
from app.settings import Settings
from tests.app.fakes import FakeEngine, artifact
from tests.images import encode


async def stays() -> Never:
    """A caller that stays."""
    return await asyncio.get_running_loop().create_future()


def test_a_deadline_that_passes_before_reading_began_is_not_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service.load_engine", lambda *_, **__: FakeEngine())
    errors = asyncio.run(outcomes_of_a_slow_upload_and_of_one_behind_it())
    assert [type(error) for error in errors] == [BodyTooSlow, DeadlinePassed]


async def outcomes_of_a_slow_upload_and_of_one_behind_it() -> list[object]:
    service = Service(Settings(max_concurrent_uploads=1, request_timeout_ms=50), artifact(), Metrics())
    await service.load()
    read = asyncio.Event()

    async def slow() -> bytes:
        # Ends later than its deadline, so that its place is not free at that of the other.
        with suppress(asyncio.CancelledError):
            await stays()
        await read.wait()
        raise asyncio.CancelledError

    async def quick() -> bytes:
        return encode(np.zeros((32, 32), np.uint8), "PNG")

    first = asyncio.create_task(service.answer(slow, stays))
    second = asyncio.create_task(service.answer(quick, stays))
    await asyncio.wait([second])
    read.set()
    errors = await asyncio.gather(first, second, return_exceptions=True)
    service.close()
    return errors
