"""Many callers at a time, some of whom go away, are slow or come too late: each gets its own answer."""

import http.client
import math
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Final

import httpx
import numpy as np
import pytest

from app.errors import InferenceFailed
from app.outputs import Outputs
from tests.app.answers import check
from tests.app.gates import WAIT_SECONDS, Gate, wait_until
from tests.app.in_process import RecordingEngine, Serve, ServiceClient
from tests.app.server import Server
from tests.images import encode, radiograph

A_MOMENT_SECONDS: Final = 0.05
"""In which what must not happen would."""

TIMEOUT_MS: Final = 300
"""For requests that are meant to be too late."""


def image(level: int) -> bytes:
    """An image of one grey level, by which the made-up engine's records and answers name it."""
    return encode(np.full((32, 32), level, np.uint8), "PNG")


def request(body: bytes, length: int | None = None) -> bytes:
    return f"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Length: {length or len(body)}\r\n\r\n".encode() + body


def connect(client: ServiceClient | Server, sent: bytes) -> socket.socket:
    connection = socket.create_connection(client.address, timeout=WAIT_SECONDS)
    connection.sendall(sent)
    return connection


def received(connection: socket.socket) -> httpx.Response:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


def level_of(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    return round(255 * answer.json()["probabilities"]["COVID-19"])


@pytest.fixture
def gates() -> Iterator[list[Gate]]:
    gates = [Gate(), Gate()]
    yield gates
    for gate in gates:
        gate.opened.set()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(24) as callers:
        yield callers


def post(callers: ThreadPoolExecutor, client: httpx.Client, *levels: int) -> list["Future[httpx.Response]"]:
    return [callers.submit(client.post, "/predict", content=image(level)) for level in levels]


def occupy(callers: ThreadPoolExecutor, client: ServiceClient, gate: Gate, level: int) -> "Future[httpx.Response]":
    """Keep the engine busy with an image, so that others wait."""
    (answer,) = post(callers, client, level)
    assert gate.reached.wait(WAIT_SECONDS)
    return answer


def occupy_unasked(client: ServiceClient, gate: Gate, level: int) -> None:
    """Keep the engine busy with an image that belongs to no request, which would have a deadline."""
    batcher = client.service.require_ready().batcher
    with batcher.place() as place:
        place.take(np.full((224, 224), level, np.uint8))
    assert gate.reached.wait(WAIT_SECONDS)


def queue(callers: ThreadPoolExecutor, client: ServiceClient, *levels: int) -> list["Future[httpx.Response]"]:
    """Post one after another behind an occupied engine."""
    answers = []
    for level in levels:
        depth = client.metric("cxr_queue_depth")
        answers += post(callers, client, level)
        wait_until(lambda depth=depth: client.metric("cxr_queue_depth") == depth + 1)
    return answers


def test_each_caller_gets_its_own_answer(serve: Serve, callers: ThreadPoolExecutor, gates: list[Gate]) -> None:
    engine = RecordingEngine(gates[0])
    with serve(lambda: engine) as client:
        answers = [occupy(callers, client, gates[0], 10), *post(callers, client, *range(20, 41))]
        wait_until(lambda: client.metric("cxr_queue_depth") == 21)
        gates[0].opened.set()
        assert [level_of(answer.result()) for answer in answers] == [10, *range(20, 41)]
    assert [len(batch) for batch in engine.batches][:3] == [1, 8, 8]
    assert sorted(engine.computed) == [10, *range(20, 41)]


def test_caller_that_goes_away_while_it_waits_is_not_computed(
    serve: Serve, callers: ThreadPoolExecutor, gates: list[Gate]
) -> None:
    engine = RecordingEngine(gates[0])
    with serve(lambda: engine) as client:
        answers = [occupy(callers, client, gates[0], 10), *queue(callers, client, 20)]
        with connect(client, request(image(30))):
            wait_until(lambda: client.metric("cxr_queue_depth") == 2)
        wait_until(lambda: client.metric("cxr_requests_in_progress") == 2)
        answers += post(callers, client, 40)
        wait_until(lambda: client.metric("cxr_requests_in_progress") == 3)
        gates[0].opened.set()
        assert [level_of(answer.result()) for answer in answers] == [10, 20, 40]
        assert client.metric("cxr_rejected_total", code="client_disconnected") == 1
        assert client.metric("cxr_predictions_total") == 3
    assert engine.computed == [10, 20, 40]


def test_caller_that_goes_away_in_mid_batch_harms_no_other(
    serve: Serve, callers: ThreadPoolExecutor, gates: list[Gate]
) -> None:
    engine = RecordingEngine(*gates, batch_size=3)
    with serve(lambda: engine) as client:
        answers = [occupy(callers, client, gates[0], 10), *queue(callers, client, 20)]
        with connect(client, request(image(30))):
            wait_until(lambda: client.metric("cxr_queue_depth") == 2)
            answers += queue(callers, client, 40)
            gates[0].opened.set()
            assert gates[1].reached.wait(WAIT_SECONDS)
        wait_until(lambda: client.metric("cxr_rejected_total", code="client_disconnected") == 1)
        gates[1].opened.set()
        assert [level_of(answer.result()) for answer in answers] == [10, 20, 40]
        assert level_of(client.post("/predict", content=image(50))) == 50
        assert client.metric("cxr_requests_in_progress") == 0
    assert engine.batches == [[10], [20, 30, 40], [50]]


def test_caller_that_goes_away_while_it_sends_frees_its_place(serve: Serve) -> None:
    with serve(RecordingEngine, max_queue=1) as client:
        with connect(client, request(image(10)[:20], length=100)):
            wait_until(lambda: client.metric("cxr_requests_in_progress") == 1)
        wait_until(lambda: client.metric("cxr_requests_in_progress") == 0)
        assert level_of(client.post("/predict", content=image(20))) == 20


def test_failed_batch_is_told_to_its_own_callers(serve: Serve, callers: ThreadPoolExecutor, gates: list[Gate]) -> None:
    engine = RecordingEngine(gates[0], batch_size=2)
    engine.errors.append(InferenceFailed("secret"))
    with serve(lambda: engine) as client:
        answers = [occupy(callers, client, gates[0], 10), *queue(callers, client, 20, 30, 40)]
        gates[0].opened.set()
        for failed in answers[1:3]:
            check(failed.result(), 500, "inference_failed", ("log", "request id"))
        assert [level_of(answer.result()) for answer in (answers[0], answers[3])] == [10, 40]
        assert client.metric("cxr_engine_failures_total") == 1
        assert client.metric("cxr_rejected_total", code="inference_failed") == 2
        assert client.metric("cxr_http_requests_total", route="/predict", status="500") == 2
    assert engine.batches == [[10], [20, 30], [40]]


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_request_whose_deadline_passes_while_it_waits_is_never_computed(
    serve: Serve, callers: ThreadPoolExecutor, gates: list[Gate], path: str
) -> None:
    engine = RecordingEngine(gates[0])
    with serve(lambda: engine, request_timeout_ms=TIMEOUT_MS) as client:
        occupy_unasked(client, gates[0], 10)
        late = [callers.submit(client.post, path, content=image(level)) for level in (20, 30)]
        for answer in late:
            check(answer.result(), 504, "deadline_passed", (f"{TIMEOUT_MS} ms", "CXR_REQUEST_TIMEOUT_MS", "again"))
        assert client.metric("cxr_rejected_total", code="deadline_passed") == 2
        assert client.metric("cxr_http_requests_total", route=path, status="504") == 2
        assert client.metric("cxr_requests_in_progress") == 0
        gates[0].opened.set()
    assert engine.batches == [[10]]


def test_upload_that_does_not_arrive_in_time_is_refused(serve: Serve) -> None:
    with (
        serve(RecordingEngine, request_timeout_ms=TIMEOUT_MS) as client,
        connect(client, request(image(10)[:20], length=100)) as slow,
    ):
        check(received(slow), 408, "body_too_slow", (f"{TIMEOUT_MS} ms", "faster connection"))
        assert client.metric("cxr_rejected_total", code="body_too_slow") == 1
        assert client.metric("cxr_requests_in_progress") == 0


@pytest.mark.parametrize(("admitted", "status"), [(1, 503), (3, 503), (2, 429)])
def test_full_service_says_when_it_will_have_answered(
    serve: Serve,
    callers: ThreadPoolExecutor,
    gates: list[Gate],
    monkeypatch: pytest.MonkeyPatch,
    admitted: int,
    status: int,
) -> None:
    now, seconds = 0.0, 5.0
    monkeypatch.setattr("app.batching.time", SimpleNamespace(perf_counter=lambda: now))

    class SlowEngine(RecordingEngine):
        def infer(self, images: np.ndarray) -> Outputs:
            nonlocal now
            outputs = super().infer(images)
            now += seconds
            return outputs

    engine = SlowEngine()
    with serve(lambda: engine, max_queue=admitted, overload_status=status) as client:
        assert level_of(client.post("/predict", content=image(10))) == 10
        engine.gates.append(gates[0])
        answers = [occupy(callers, client, gates[0], 20), *queue(callers, client, *range(30, 29 + admitted))]
        refused = client.post("/predict", content=image(99))
        seconds = int(refused.headers["Retry-After"])
        assert 5 * admitted <= seconds <= math.ceil(5 * admitted * 1.5)
        check(refused, status, "overloaded", (f"{admitted} requests", f"{seconds} s"))
        assert client.metric("cxr_requests_in_progress") == client.metric("cxr_queue_limit") == admitted
        assert client.metric("cxr_rejected_total", code="overloaded") == 1
        gates[0].opened.set()
        assert [level_of(answer.result()) for answer in answers] == [20, *range(30, 29 + admitted)]
        assert level_of(client.post("/predict", content=image(40))) == 40
    assert 99 not in engine.computed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the batcher takes for the time, in seconds."""
    now = [0.0]
    monkeypatch.setattr("app.batching.time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


class SlowEngine(RecordingEngine):
    """Takes 5 seconds a call on a made-up clock, and computes two images in one."""

    def __init__(self, clock: list[float], *gates: Gate) -> None:
        super().__init__(*gates, batch_size=2)
        self._clock = clock

    def infer(self, images: np.ndarray) -> Outputs:
        outputs = super().infer(images)
        self._clock[0] += 5
        return outputs


def test_requests_that_would_wait_for_too_long_are_refused(
    serve: Serve, callers: ThreadPoolExecutor, gates: list[Gate], clock: list[float]
) -> None:
    engine = SlowEngine(clock)
    with serve(lambda: engine, max_wait_ms=20_000) as client:
        assert level_of(client.post("/predict", content=image(10))) == 10  # It takes 5 s, so far as is known.
        engine.gates.append(gates[0])
        answers = [occupy(callers, client, gates[0], 20), *queue(callers, client, 30, 40, 50, 60)]
        refused = client.post("/predict", content=image(99))
        check(refused, 503, "overloaded", ("5 requests", "in time"))
        assert 25 <= int(refused.headers["Retry-After"]) <= 38
        gates[0].opened.set()
        assert [level_of(answer.result()) for answer in answers] == [20, 30, 40, 50, 60]
    assert 99 not in engine.computed


def test_one_batch_is_admitted_however_long_it_seems_to_take(
    serve: Serve, callers: ThreadPoolExecutor, gates: list[Gate], clock: list[float]
) -> None:
    engine = SlowEngine(clock)
    with serve(lambda: engine, max_wait_ms=0) as client:
        assert level_of(client.post("/predict", content=image(10))) == 10
        engine.gates.append(gates[0])
        answers = [occupy(callers, client, gates[0], 20), *queue(callers, client, 30)]
        check(client.post("/explain", content=image(99)), 503, "overloaded", ("2 requests",))
        assert client.metric("cxr_http_requests_total", route="/explain", status="503") == 1
        gates[0].opened.set()
        assert [level_of(answer.result()) for answer in answers] == [20, 30]
        assert level_of(client.post("/predict", content=image(40))) == 40


def test_uploads_beyond_the_memory_wait_for_their_turn(serve: Serve, callers: ThreadPoolExecutor) -> None:
    length = len(image(10))
    with serve(RecordingEngine, upload_memory_bytes=length, max_queue=20) as client, ExitStack() as connections:
        slow = [
            connections.enter_context(connect(client, request(image(level)[:-1], length=len(image(level)))))
            for level in (10, 20)
        ]
        wait_until(lambda: client.metric("cxr_requests_in_progress") == 2)
        answers = post(callers, client, *range(30, 42))
        wait_until(lambda: client.metric("cxr_requests_in_progress") == 14)
        assert not wait(answers, A_MOMENT_SECONDS, "FIRST_COMPLETED").done
        for connection, level in zip(slow, (10, 20), strict=True):
            connection.sendall(image(level)[-1:])
        assert [level_of(answer.result()) for answer in answers] == list(range(30, 42))
        assert [level_of(received(connection)) for connection in slow] == [10, 20]


def test_an_operator_sees_queue_batches_and_stages(
    serve: Serve, callers: ThreadPoolExecutor, gates: list[Gate]
) -> None:
    engine = RecordingEngine(gates[0], batch_size=2)
    with serve(lambda: engine) as client:
        answers = [occupy(callers, client, gates[0], 10), *queue(callers, client, 20, 30, 40)]
        assert client.metric("cxr_queue_depth") == 3
        assert client.metric("cxr_requests_in_progress") == 4
        assert client.metric("cxr_batch_size_count") == 0
        gates[0].opened.set()
        assert [level_of(answer.result()) for answer in answers] == [10, 20, 30, 40]
        assert client.metric("cxr_queue_depth") == 0
        assert [client.metric("cxr_batch_size_bucket", le=le) for le in ("1.0", "2.0")] == [2, 3]
        for stage in ("read", "decode", "wait", "infer", "encode"):
            assert client.metric("cxr_stage_seconds_count", stage=stage) == 4
        assert client.metric("cxr_engine_failures_total") == 0


def test_answers_of_the_real_model_do_not_depend_on_company(server: Server) -> None:
    images = [encode(radiograph(256, 200, seed=seed), "PNG") for seed in range(24)]

    def positive(answer: httpx.Response) -> float:
        assert answer.status_code == 200, answer.text
        return answer.json()["probabilities"]["COVID-19"]

    alone = [positive(server.client.post("/predict", content=data)) for data in images]
    assert len({round(value, 4) for value in alone}) > 12  # so that a mix-up shows
    together = [positive(answer) for answer in server.post_together(images)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
