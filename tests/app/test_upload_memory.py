"""How uploads share memory, and that none waits for ever for another."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from app import upload_memory
from app.upload_memory import Upload, UploadMemory


def memory(**changes: float) -> UploadMemory:
    """For 5 uploads: 10 bytes each, and 50 for larger ones."""
    return UploadMemory(**{"limit": 100, "uploads": 5, "period_seconds": 60, "bytes_each_period": 1, **changes})  # type: ignore[arg-type]


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


def never() -> None:
    raise AssertionError("It was cut off.")


async def turn() -> None:
    """Let others go on for as long as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


def adding(upload: Upload, size: int) -> "asyncio.Task[None]":
    return asyncio.create_task(upload.add(size))


@in_loop
async def test_small_uploads_never_wait() -> None:
    shared = memory()
    large, *small = [shared.open(never) for _ in range(5)]
    await large.add(1000)
    for upload in small:
        await upload.add(10)


@in_loop
async def test_larger_ones_wait_until_memory_is_free_in_turn() -> None:
    shared = memory()
    first, second, third = [shared.open(never) for _ in range(3)]
    await first.add(40)  # 30 of the common 50
    await second.add(10)
    later = [adding(second, 30), adding(third, 40)]
    await turn()
    assert not any(task.done() for task in later)
    assert second.is_waiting
    second.close()
    await turn()
    assert not later[1].done()
    first.close()
    await later[1]
    assert not third.is_waiting
    later[0].cancel()
    third.close()


@in_loop
async def test_the_oldest_goes_on_whatever_the_others_hold() -> None:
    shared = memory()
    first, second = shared.open(never), shared.open(never)
    await second.add(60)
    await first.add(10_000)
    more = adding(second, 1)
    await turn()
    assert not more.done()
    first.close()
    await more


@in_loop
async def test_upload_that_does_not_keep_coming_is_cut_off() -> None:
    cut = asyncio.Event()
    upload = memory(period_seconds=0.01, bytes_each_period=5).open(cut.set)
    await upload.add(4)
    await cut.wait()
    assert upload.is_slow


@in_loop
async def test_upload_that_keeps_coming_and_one_that_waits_are_not_cut_off() -> None:
    shared = memory(limit=10_000, period_seconds=0.5, bytes_each_period=5)
    large, steady, waiting = [shared.open(never) for _ in range(3)]
    await large.add(10_000)
    large.end_reading()
    more = adding(waiting, 7000)
    for _ in range(40):
        await steady.add(5)
        await asyncio.sleep(0.03)
    assert waiting.is_waiting
    large.close()
    steady.close()
    await more
    waiting.close()


@in_loop
async def test_the_slowest_gives_way_and_quick_new_or_whole_ones_do_not() -> None:
    cut: list[str] = []
    shared = memory(limit=10**9)
    uploads = {name: shared.open(lambda name=name: cut.append(name)) for name in ("slow", "slower", "quick", "whole")}  # type: ignore[misc]
    for name, size in {"slow": 1000, "slower": 10, "quick": 10**7}.items():
        await uploads[name].add(size)
    uploads["whole"].end_reading()
    assert not shared.cut_slowest()  # not judged yet
    await asyncio.sleep(upload_memory._JUDGED_AFTER_SECONDS)
    shared.open(lambda: cut.append("new"))
    assert shared.cut_slowest()
    assert shared.cut_slowest()
    assert cut == ["slower", "slow"]
    assert not shared.cut_slowest()


@in_loop
async def test_a_slow_one_gives_memory_back_to_one_that_waits() -> None:
    shared = memory()
    oldest, slow, waiting = shared.open(never), shared.open(lambda: slow.close()), shared.open(never)
    await slow.add(60)
    oldest.end_reading()
    await asyncio.wait_for(waiting.add(60), 30)
    assert slow.is_slow
