"""The way of an upload through the service, where no caller on a socket can bring it about at will."""

import asyncio
import gc
import threading
from contextlib import suppress
from typing import Never

import numpy as np
import pytest

from app.errors import BodyTooSlow, DeadlinePassed, UnsupportedFormat
from app.metrics import Metrics
from app.service import Service
from app.settings import Settings
from app.upload_memory import Upload
from tests.app.fakes import FakeEngine, artifact
from tests.app.in_process import BlockingEngine
from tests.images import encode


async def stays() -> Never:
    """A caller that stays."""
    return await asyncio.get_running_loop().create_future()


def watched(let_go: threading.Event, data: bytes) -> bytes:
    """An upload that says when nobody holds it any more."""

    class Data(bytes):
        def __del__(self) -> None:
            let_go.set()

    return Data(data)


def test_a_deadline_that_passes_while_memory_is_waited_for_is_not_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service.load_engine", lambda *_, **__: FakeEngine())
    errors = asyncio.run(outcomes_of_a_slow_upload_and_of_one_behind_it())
    assert [type(error) for error in errors] == [BodyTooSlow, DeadlinePassed]


def test_an_upload_is_not_held_while_it_waits_for_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = BlockingEngine()
    monkeypatch.setattr("app.service.load_engine", lambda *_, **__: engine)
    assert asyncio.run(is_let_go_while_the_engine_works(engine))


def test_free_memory_is_given_back_once_nothing_is_asked_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service.load_engine", lambda *_, **__: FakeEngine())
    monkeypatch.setattr("app.admission._IDLE_SECONDS", 0.05)
    given_back = threading.Event()
    monkeypatch.setattr("app.service.tidy_up", given_back.set)
    assert asyncio.run(is_set_between_and_after_requests(given_back)) == (False, True)


async def is_set_between_and_after_requests(event: threading.Event) -> tuple[bool, bool]:
    service = Service(Settings(), artifact(), Metrics())
    await service.load()
    with service.admit():
        pass
    with service.admit():
        between = await asyncio.to_thread(event.wait, 0.2)
    after = await asyncio.to_thread(event.wait, 60)
    await service.close()
    return between, after


def test_a_refused_upload_is_let_go_without_a_collection_of_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service.load_engine", lambda *_, **__: FakeEngine())
    assert asyncio.run(is_let_go_once_refused())


async def is_let_go_once_refused() -> bool:
    service = Service(Settings(), artifact(), Metrics())
    await service.load()
    let_go = threading.Event()

    async def read(_: object) -> bytes:
        return watched(let_go, b"no image")

    gc.disable()
    try:
        with pytest.raises(UnsupportedFormat):
            await service.answer(read, stays)
        return await asyncio.to_thread(let_go.wait, 10)
    finally:
        gc.enable()
        await service.close()


async def is_let_go_while_the_engine_works(engine: BlockingEngine) -> bool:
    service = Service(Settings(), artifact(), Metrics())
    await service.load()
    let_go = threading.Event()

    async def read(_: object) -> bytes:
        return watched(let_go, encode(np.zeros((32, 32), np.uint8), "PNG"))

    answering = asyncio.create_task(service.answer(read, stays))
    assert await asyncio.to_thread(engine.gate.reached.wait, 60)
    is_let_go = await asyncio.to_thread(let_go.wait, 10)
    engine.gate.opened.set()
    await answering
    await service.close()
    return is_let_go


async def outcomes_of_a_slow_upload_and_of_one_behind_it() -> list[object]:
    settings = Settings(upload_memory_bytes=10, max_queue=5, request_timeout_ms=50)  # a share of one byte each
    service = Service(settings, artifact(), Metrics())
    await service.load()
    may_end = asyncio.Event()

    async def slow(upload: Upload) -> bytes:
        await upload.add(10)
        # Ends later than its deadline, so that its memory is not free at that of the other.
        with suppress(asyncio.CancelledError):
            await stays()
        await may_end.wait()
        raise asyncio.CancelledError

    async def waiting(upload: Upload) -> bytes:
        await upload.add(10)
        return b""

    first = asyncio.create_task(service.answer(slow, stays))
    second = asyncio.create_task(service.answer(waiting, stays))
    await asyncio.wait([second])
    may_end.set()
    errors = await asyncio.gather(first, second, return_exceptions=True)
    await service.close()
    return errors
