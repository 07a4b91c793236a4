"""Callers who send slowly, or much: they keep nobody out, and the memory of the service is bounded."""

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.app.answers import check
from tests.app.fakes import FakeEngine
from tests.app.gates import WAIT_SECONDS, wait_until
from tests.app.in_process import Serve
from tests.app.server import Server
from tests.app.test_concurrency import connect, image, level_of, received, request

MEBIBYTE = 2**20
UPLOAD_BYTES = 8 * MEBIBYTE
BUDGET = 32 * MEBIBYTE
UPLOADS = 40


@contextmanager
def trickling(connections: list[socket.socket]) -> Iterator[None]:
    """Send a byte over each connection ten times a second, as long as it takes them."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.1):
            for connection in list(connections):
                try:
                    connection.sendall(b"x")
                except OSError:
                    connections.remove(connection)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_slow_senders_keep_nobody_out(serve: Serve) -> None:
    with serve(FakeEngine) as client, ExitStack() as stack:
        slow = [stack.enter_context(connect(client, request(b"x", length=10_000_000))) for _ in range(100)]
        with trickling(slow):
            wait_until(lambda: client.metric("cxr_requests_in_progress") == 100)
            for level in range(10, 20):
                assert level_of(client.post("/predict", content=image(level))) == level
            assert client.metric("cxr_requests_in_progress") == 100


def test_slow_senders_in_every_place_give_way(serve: Serve) -> None:
    with serve(FakeEngine, max_queue=10) as client, ExitStack() as stack:
        slow = [stack.enter_context(connect(client, request(b"x", length=10_000_000))) for _ in range(10)]
        with trickling(list(slow)):
            wait_until(lambda: client.metric("cxr_requests_in_progress") == 10)
            wait_until(lambda: client.post("/predict", content=image(10)).status_code == 200)
            assert client.metric("cxr_rejected_total", code="body_too_slow") >= 1
            for level in range(20, 40):
                assert level_of(client.post("/predict", content=image(level))) == level
        answers = [received(connection) for connection in slow[:1]]
        check(answers[0], 408, "body_too_slow", ("too slowly", "faster connection"))


@pytest.mark.parametrize("per_period", [10**6, 20], ids=["slow", "nothing"])
def test_upload_that_does_not_keep_coming_is_refused(serve: Serve, per_period: int) -> None:
    with (
        serve(FakeEngine, body_timeout_ms=300, body_timeout_bytes=per_period) as client,
        connect(client, request(b"x" * 10, length=10_000_000)) as slow,
    ):
        with trickling([slow] if per_period > 100 else []):
            check(received(slow), 408, "body_too_slow", ("too slowly", "faster connection"))
        wait_until(lambda: client.metric("cxr_requests_in_progress") == 0)


def test_slow_upload_that_keeps_coming_is_answered(serve: Serve) -> None:
    data = image(10)
    with (
        serve(FakeEngine, body_timeout_ms=500, body_timeout_bytes=1) as client,
        connect(client, request(data[:-10], length=len(data))) as slow,
    ):
        for byte in data[-10:]:
            assert not threading.Event().wait(0.1)
            slow.sendall(bytes([byte]))
        assert level_of(received(slow)) == 10


def memory(server: Server, name: str) -> int:
    """Of the server's process: VmHWM, the peak, or VmRSS, now; in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    assert found
    return 1024 * int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="The peak is read from Linux' /proc.")
def test_memory_of_many_large_uploads_is_bounded(cache_dir: Path) -> None:
    """The budget, one upload beyond it, and one that is put together from its pieces."""
    data = image(10)
    body = data + bytes(UPLOAD_BYTES - len(data))
    with (
        Server(
            cache_dir=cache_dir, max_upload_bytes=UPLOAD_BYTES, upload_memory_bytes=BUDGET, max_wait_ms=600_000
        ) as server,
        ThreadPoolExecutor(UPLOADS) as callers,
    ):
        assert server.client.post("/predict", content=data).status_code == 200
        before = memory(server, "VmHWM")

        def post(_: int) -> int:
            with connect(server, request(body)) as connection:
                connection.settimeout(WAIT_SECONDS)
                return received(connection).status_code

        assert set(callers.map(post, range(UPLOADS))) == {200}
        assert memory(server, "VmHWM") - before < BUDGET + 2 * UPLOAD_BYTES + UPLOADS * MEBIBYTE // 2
        wait_until(lambda: memory(server, "VmRSS") - before < UPLOAD_BYTES)
