"""What callers can do to a connection, before there is a request and after its answer."""

import socket
import time
from contextlib import ExitStack
from functools import partial

import httpx
import pytest

from app.api import connection as connection_module
from tests.app.answers import check
from tests.app.fakes import FakeEngine
from tests.app.gates import WAIT_SECONDS, Gate, wait_until
from tests.app.in_process import RecordingEngine, Serve, ServiceClient
from tests.app.test_concurrency import connect, image, level_of, received, request

HEADER_BYTES = 2000
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: service\r\n\r\n"
LARGE = "/static-offline-docs/swagger-ui-bundle.js"


def answered(connection: socket.socket) -> httpx.Response:
    """The answer on a connection that the service then closes."""
    answer = received(connection)
    assert connection.recv(1) == b""
    return answer


def refusals(client: ServiceClient, code: str) -> float:
    return client.metric("cxr_connections_refused_total", code=code)


HEAD = b"POST /predict HTTP/1.1\r\nHost: service\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /livez HTTP/1.1\r\nX: " + b"x" * HEADER_BYTES + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * (HEADER_BYTES // 6) + b"\r\n",
        b"GET /" + b"x" * HEADER_BYTES + b" HTTP/1.1\r\n\r\n",
        HEAD + b"X: " + b"x" * (HEADER_BYTES + 2**20),
        HEAD + b"a: b\r\n" * 2**18,
        b"GET /livez?" + b"x" * (HEADER_BYTES + 2**20),
        b"\r\n" * 2**20,
        CHUNKED + b"1;" + b"x" * (HEADER_BYTES + 2**20),
        CHUNKED + b"1\r\nx\r\n" * 2**20,
        CHUNKED + b"0\r\nX: " + b"x" * (HEADER_BYTES + 2**20),
        CHUNKED + b"0\r\n" + b"a: b\r\n" * 2**18,
    ],
    ids=[
        "field", "fields", "address", "endless field", "endless fields", "endless address", "empty lines",
        "endless chunk extension", "tiny chunks", "endless trailer", "endless trailers",
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [b"", LIVEZ], ids=["first", "second"])
def test_what_is_not_body_is_bounded(serve: Serve, first: bytes, sent: bytes) -> None:
    with serve(FakeEngine, max_header_bytes=HEADER_BYTES) as client, connect(client, first) as connection:
        if first:
            assert received(connection).status_code == 200
        connection.sendall(sent)
        check(answered(connection), 431, "header_too_large", (f"{HEADER_BYTES} bytes",))
        assert refusals(client, "header_too_large") == 1
        wait_until(lambda: client.metric("cxr_requests_in_progress") == 0)


def test_header_of_nearly_the_limit_and_chunks_are_read(serve: Serve) -> None:
    data = image(10)
    with serve(FakeEngine, max_header_bytes=HEADER_BYTES) as client:
        headers = {"X": "x" * (HEADER_BYTES - 500)}
        assert level_of(client.post("/predict", content=data, headers=headers)) == 10
        assert level_of(client.post("/predict", content=(data[i : i + 8] for i in range(0, len(data), 8)))) == 10


@pytest.mark.parametrize("sent", [b"GET /livez HTTP/1.1\r\nX", b"\r\n"], ids=["part", "line"])
@pytest.mark.parametrize("first", [b"", LIVEZ], ids=["first", "second"])
def test_slow_header_is_answered_and_the_connection_closed(serve: Serve, first: bytes, sent: bytes) -> None:
    with serve(FakeEngine, header_timeout_ms=300) as client, connect(client, first) as connection:
        if first:
            assert received(connection).status_code == 200
        connection.sendall(sent)
        check(answered(connection), 408, "header_too_slow", ("0.3 s",))
        assert refusals(client, "header_too_slow") == 1


def test_connection_that_asks_nothing_is_closed(serve: Serve) -> None:
    with serve(FakeEngine, header_timeout_ms=100) as client, connect(client, b"") as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
)
def test_what_is_not_http_is_answered(serve: Serve, sent: bytes) -> None:
    with serve(FakeEngine) as client, connect(client, sent) as connection:
        check(answered(connection), 400, "malformed_request", ("HTTP/1.1",))


def test_broken_chunk_ends_its_request(serve: Serve) -> None:
    with serve(FakeEngine) as client, connect(client, CHUNKED + b"nonsense\r\n") as connection:
        check(answered(connection), 400, "malformed_request", ("HTTP/1.1",))
        wait_until(lambda: client.metric("cxr_requests_in_progress") == 0)


def test_request_for_another_protocol_is_answered_and_the_connection_closed(serve: Serve) -> None:
    upgrade = LIVEZ[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with serve(FakeEngine) as client, connect(client, upgrade + b"\x81\x85") as connection:
        assert answered(connection).status_code == 200


def test_pipelined_requests_are_answered_in_turn(serve: Serve) -> None:
    last = LIVEZ[:-2] + b"Connection: close\r\n\r\n"
    with serve(FakeEngine) as client, connect(client, request(image(10)) + LIVEZ * 3 + last) as connection:
        answers = connection.makefile("rb").read().split(b"HTTP/1.1 200 OK")[1:]
        assert [b"alive" in answer for answer in answers] == [False, True, True, True, True]


def test_too_many_pipelined_requests_end_with_the_answer_of_the_first(serve: Serve) -> None:
    gate = Gate()
    with serve(lambda: RecordingEngine(gate)) as client, connect(client, request(image(10))) as connection:
        assert gate.reached.wait(WAIT_SECONDS)
        connection.sendall(LIVEZ * 10_000)
        gate.opened.set()
        assert level_of(answered(connection)) == 10


def test_longest_idle_connection_gives_way(serve: Serve) -> None:
    with serve(FakeEngine, max_connections=10) as client, ExitStack() as stack:
        idle = [stack.enter_context(connect(client, b"GET /livez")) for _ in range(10)]
        for _ in range(3):
            assert received(stack.enter_context(connect(client, LIVEZ))).status_code == 200
        assert [connection.recv(1) for connection in idle[:3]] == [b"", b"", b""]
        idle[-1].sendall(LIVEZ.removeprefix(b"GET /livez"))
        assert received(idle[-1]).status_code == 200


def test_busy_connections_do_not_give_way(serve: Serve) -> None:
    gate = Gate()
    with serve(lambda: RecordingEngine(gate), max_connections=8, max_queue=20) as client, ExitStack() as stack:
        busy = [stack.enter_context(connect(client, request(image(level)))) for level in range(10, 18)]
        in_progress = partial(client.service.metrics.registry.get_sample_value, "cxr_requests_in_progress")
        wait_until(lambda: in_progress() == 8)
        check(answered(stack.enter_context(connect(client, LIVEZ))), 503, "too_many_connections", ("8 connections",))
        gate.opened.set()
        assert [level_of(received(connection)) for connection in busy] == list(range(10, 18))


def test_answer_that_nobody_reads_is_given_up(serve: Serve) -> None:
    get = f"GET {LARGE} HTTP/1.1\r\nHost: service\r\n\r\n".encode()
    with serve(FakeEngine, body_timeout_ms=200) as client, connect(client, get * 6) as connection:
        wait_until(lambda: refusals(client, "answer_not_read") == 1)
        assert len(connection.makefile("rb").read()) < 6 * len(client.get(LARGE).content)


def test_answer_that_is_read_slowly_is_not_given_up(serve: Serve) -> None:
    get = f"GET {LARGE} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n".encode()
    with serve(FakeEngine, body_timeout_ms=300) as client, connect(client, get) as connection:
        size = 0
        while data := connection.recv(2**16):
            size += len(data)
            time.sleep(0.02)
        assert size > len(client.get(LARGE).content)


def send_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(bytes(1000))


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_LINGER_SECONDS", 0.5)
    monkeypatch.setattr(connection_module, "_IDLE_SECONDS", 0.2)


def test_patience_with_a_caller_that_stays_ends(serve: Serve, patience: None) -> None:
    with serve(FakeEngine, max_upload_bytes=10) as client, connect(client, request(b"x", length=2**40)) as caller:
        check(answered(caller), 413, "body_too_large", ("10 bytes",))
        wait_until(lambda: client.metric("cxr_connections") == 1)


def test_patience_with_a_caller_that_sends_for_ever_ends(serve: Serve, patience: None) -> None:
    with serve(FakeEngine, max_upload_bytes=10) as client, connect(client, request(b"x", length=2**40)) as caller:
        check(answered(caller), 413, "body_too_large", ("10 bytes",))
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            send_for_ever(caller)
