"""A decoder that hangs, crashes, eats memory or lies costs the request that it decodes, and nothing else."""

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.app.answers import check
from tests.app.gates import wait_until
from tests.app.processes import descendants, is_running, send_all
from tests.app.server import Server
from tests.images import encode, radiograph

FAULTS: Final = Path(__file__).with_name("faults")
IMAGE: Final = encode(radiograph(), "PNG")
FOREVER_MS: Final = 3_600_000

OUTCOMES = {
    "hang": (422, "decoder_failed", "time", "2000 ms"),
    "crash": (422, "decoder_failed", "crash", "broke down"),
    "eat_memory": (422, "decoder_failed", "memory", "more memory"),
    "end": (422, "decoder_failed", "crash", "broke down"),
    "stumble": (422, "decoder_failed", "crash", "broke down"),
    "lie": (422, "decoder_failed", "crash", "broke down"),
    "be_killed": (503, "decoder_unavailable", "ended", "Try again"),
}


def faulty(**settings: object) -> Server:
    """A service whose decoders do what the end of an upload says."""
    return Server(PYTHONPATH=FAULTS, threads=2, **settings)


@pytest.fixture(scope="module")
def server(cache_dir: Path) -> Iterator[Server]:
    with faulty(cache_dir=cache_dir, decode_timeout_ms=2000, max_pixels=1_000_000, max_upload_bytes=10**6) as server:
        yield server


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as callers:
        yield callers


def post(callers: ThreadPoolExecutor, server: Server, fault: str = "") -> "Future[httpx.Response]":
    return callers.submit(server.client.post, "/predict", content=IMAGE + fault.encode())


@pytest.mark.parametrize("fault", OUTCOMES)
def test_fault_costs_one_request(server: Server, callers: ThreadPoolExecutor, fault: str) -> None:
    status, code, reason, words = OUTCOMES[fault]
    before = server.metric("cxr_decoder_failures_total"), server.metric("cxr_decoder_failures_total", reason=reason)
    others = [post(callers, server) for _ in range(6)]
    hit = post(callers, server, fault)
    others += [post(callers, server) for _ in range(6)]
    check(hit.result(), status, code, (words,))
    for other in others:
        assert other.result().status_code == 200, other.result().text
    assert server.client.get("/readyz").status_code == 200
    assert server.client.post("/predict", content=IMAGE).status_code == 200
    after = server.metric("cxr_decoder_failures_total"), server.metric("cxr_decoder_failures_total", reason=reason)
    assert after == (before[0] + 1, before[1] + 1)


def test_failures_are_logged_without_content(server: Server) -> None:
    check(server.client.post("/predict", content=IMAGE + b"stumble"), 422, "decoder_failed")

    def logged() -> list[dict[str, Any]]:
        return [line for line in server.log() if "stumble (" in str(line.get("exception"))]

    wait_until(lambda: bool(logged()))
    line = logged()[-1]
    assert (line["level"], line["reason"]) == ("WARNING", "crash")
    assert "KeyError" in line["exception"][0]
    assert server.client.post("/predict", content=IMAGE + b"chatter").status_code == 200
    assert "Zzyzx" not in "".join(server.stdout + server.stderr)


def test_faults_one_after_the_other_leave_the_service_as_it_was(server: Server, callers: ThreadPoolExecutor) -> None:
    crashes = [post(callers, server, "crash") for _ in range(40)]
    assert {crash.result().status_code for crash in crashes} == {422}
    assert server.client.post("/predict", content=IMAGE).status_code == 200
    wait_until(lambda: len(descendants(server.pid)) <= 3)  # the nursery and a decoder for each thread


def test_decoders_that_are_killed_are_replaced_unnoticed(server: Server) -> None:
    assert server.client.post("/predict", content=IMAGE).status_code == 200
    _, *decoders = descendants(server.pid)
    send_all(decoders, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, decoders)))
    before = server.metric("cxr_decoder_failures_total", reason="ended")
    assert server.client.post("/predict", content=IMAGE).status_code == 200
    assert server.metric("cxr_decoder_failures_total", reason="ended") > before


def test_nursery_that_is_killed_is_replaced_unnoticed(server: Server) -> None:
    nursery, *decoders = descendants(server.pid)
    send_all([nursery], signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, [nursery, *decoders])))
    assert server.client.post("/predict", content=IMAGE).status_code == 200
    check(server.client.post("/predict", content=IMAGE + b"crash"), 422, "decoder_failed")
    assert server.client.post("/predict", content=IMAGE).status_code == 200


def test_decoder_that_is_kept_from_running_is_given_up(cache_dir: Path, callers: ThreadPoolExecutor) -> None:
    with faulty(cache_dir=cache_dir, request_timeout_ms=2000) as server:
        asleep = [post(callers, server, "sleep") for _ in range(2)]
        for answer in asleep:
            check(answer.result(), 504, "deadline_passed")
        wait_until(lambda: server.metric("cxr_decoder_failures_total", reason="stuck") == 2)
        assert server.client.post("/predict", content=IMAGE).status_code == 200


@pytest.mark.parametrize("fault", ["hang", "sleep"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_decoder_outlives_the_service(
    cache_dir: Path, callers: ThreadPoolExecutor, number: signal.Signals, fault: str
) -> None:
    with faulty(cache_dir=cache_dir, decode_timeout_ms=FOREVER_MS, request_timeout_ms=FOREVER_MS) as server:
        lost = [post(callers, server, fault) for _ in range(2)]
        wait_until(lambda: len(descendants(server.pid)) == 3)
        started = descendants(server.pid)
        server.stop(number)
        wait_until(lambda: not any(map(is_running, started)))
    assert all(answer.exception() or answer.result().status_code >= 500 for answer in lost)


def test_ctrl_c_ends_all_in_order(cache_dir: Path) -> None:
    with faulty(cache_dir=cache_dir) as server:
        assert server.client.post("/predict", content=IMAGE).status_code == 200
        started = descendants(server.pid)
        send_all(started, signal.SIGINT)
        assert server.client.post("/predict", content=IMAGE).status_code == 200
        assert descendants(server.pid) == started
        send_all(started, signal.SIGINT)
        assert server.stop(signal.SIGINT) == 0
        wait_until(lambda: not any(map(is_running, started)))
    assert "Traceback" not in "".join(server.stderr)
