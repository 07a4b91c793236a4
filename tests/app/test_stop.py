"""Stopping: what is in progress is answered, the load balancer is told first, and nothing holds the end up."""

import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from app.server import LAST_SECONDS
from app.settings import Settings
from tests.app.answers import check
from tests.app.gates import WAIT_SECONDS, wait_until
from tests.app.server import ROOT, Server
from tests.app.test_concurrency import connect, image, received, request

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"

GATED_ENGINE = """
import os, pathlib, time
from app.predictor import Predictor
infer, gate = Predictor.infer, pathlib.Path(os.environ["GATE"])
def gated(self, squares):
    gate.with_name("reached").touch()
    while not gate.exists():
        time.sleep(0.01)
    return infer(self, squares)
Predictor.infer = gated
"""
"""Prelude under which the engine waits for a file."""


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(24) as callers:
        yield callers


def accepts(server: Server) -> bool:
    try:
        socket.create_connection(server.address, timeout=WAIT_SECONDS).close()
    except ConnectionError:  # Refused; or reset, where it waited to be accepted.
        return False
    return True


def test_requests_in_progress_are_answered(cache_dir: Path, tmp_path: Path, callers: ThreadPoolExecutor) -> None:
    gate = tmp_path / "gate"
    with Server(GATED_ENGINE, cache_dir=cache_dir, shutdown_timeout_ms=60_000, GATE=gate) as server:
        answers = [callers.submit(server.client.post, "/predict", content=image(10)) for _ in range(20)]
        wait_until(lambda: server.metric("cxr_requests_in_progress") == 20)
        server.signal(signal.SIGTERM)
        wait_until(lambda: not accepts(server))
        gate.touch()
        assert server.end() == 0
        assert {answer.result().status_code for answer in answers} == {200}


def test_readiness_falls_before_the_port_closes(cache_dir: Path) -> None:
    with Server(cache_dir=cache_dir, drain_ms=3000) as server:
        assert server.client.get("/readyz").status_code == 200
        with connect(server, LIVEZ) as idle:
            assert received(idle).status_code == 200
            server.signal(signal.SIGTERM)
            wait_until(lambda: server.client.get("/readyz").status_code == 503)
            answer = server.client.get("/readyz")
            check(answer, 503, "stopping", ("being stopped",))
            assert answer.headers["Connection"] == "close"
            assert server.metric("cxr_ready") == 0
            assert server.client.post("/predict", content=image(10)).status_code == 200
            assert server.client.get("/livez").status_code == 200
            wait_until(lambda: not accepts(server))
            assert idle.recv(1) == b""
        assert server.end() == 0


def test_interrupt_from_the_keyboard_does_not_drain(cache_dir: Path) -> None:
    with Server(cache_dir=cache_dir, drain_ms=1_000_000) as server:
        assert server.stop(signal.SIGINT) == 0


def test_upload_that_never_ends_is_told_and_holds_nothing_up(cache_dir: Path) -> None:
    with Server(cache_dir=cache_dir, shutdown_timeout_ms=300) as server:
        with connect(server, request(image(10)[:20], length=100_000)) as caller:
            wait_until(lambda: server.metric("cxr_requests_in_progress") == 1)
            server.signal(signal.SIGTERM)
            answer = received(caller)
        check(answer, 503, "stopping", ("being stopped", "again"))
        assert answer.headers["Retry-After"]
        assert server.end() == 0


def test_idle_connections_hold_nothing_up(cache_dir: Path) -> None:
    with Server(cache_dir=cache_dir, shutdown_timeout_ms=600_000) as server:
        silent, half, kept = (connect(server, sent) for sent in (b"", b"GET /livez", LIVEZ))
        with silent, half, kept:
            assert received(kept).status_code == 200
            server.signal(signal.SIGTERM)
            assert server.end() == 0


def test_second_signal_ends_at_once(cache_dir: Path) -> None:
    with Server(cache_dir=cache_dir, drain_ms=1_000_000) as server:
        server.signal(signal.SIGTERM)
        wait_until(lambda: server.client.get("/readyz").status_code == 503)
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert "second signal" in "".join(server.stderr)


def test_engine_that_hangs_does_not_outlive_the_limit(
    cache_dir: Path, tmp_path: Path, callers: ThreadPoolExecutor
) -> None:
    with Server(GATED_ENGINE, cache_dir=cache_dir, shutdown_timeout_ms=100, GATE=tmp_path / "gate") as server:
        answer = callers.submit(server.client.post, "/predict", content=image(10))
        wait_until((tmp_path / "reached").exists)
        server.signal(signal.SIGTERM)
        assert server.end() == 1
        check(answer.result(), 503, "stopping")
        assert "hung" in "".join(server.stderr)


def test_docker_waits_for_the_end() -> None:
    """``docker run`` and compose kill what is not stopped in time."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["cxr"]
    of_image = re.search(r"CXR_DRAIN_MS=(\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert of_image
    in_image = int(of_image[1]) + Settings.model_fields["shutdown_timeout_ms"].default
    assert in_image / 1000 + LAST_SECONDS < 10  # docker's own
    given = dict(re.findall(r"(CXR_\w+_MS)=\$\{\w+:-(\d+)\}", "\n".join(compose["environment"])))
    in_compose = int(given["CXR_DRAIN_MS"]) + int(given["CXR_SHUTDOWN_TIMEOUT_MS"])
    assert in_compose / 1000 + LAST_SECONDS < int(compose["stop_grace_period"].removesuffix("s"))
    assert given["CXR_DRAIN_MS"] == of_image[1]
