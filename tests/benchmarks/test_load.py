"""The load, and that wrong answers are noticed. Against a server made up here, and against the service."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.artifact import Artifact
from benchmarks.harness.caller import WrongAnswers, encode_body
from benchmarks.harness.load import Load
from benchmarks.harness.radiographs import Radiographs, make_radiographs
from benchmarks.harness.reference import Reference, make_reference
from tests.app.server import Server

needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")

IMAGES = Radiographs((b"first", b"second"), "two")
REFERENCE = Reference("m/1, f32", Path("m"), "f32", "COVID-19", (0.25, 0.75), 0.001, 1)


@contextmanager
def made_up_server(*answers: tuple[int, float]) -> Iterator[str]:
    """Answer status and probability by the image that a request holds."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, probability = answers[b"second" in body]
            content = json.dumps({"probabilities": {"non-COVID": 1 - probability, "COVID-19": probability}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@needs_wrk
@pytest.mark.parametrize("body", ["multipart", "bytes"])
def test_right_answers_are_counted(tmp_path: Path, body: str) -> None:
    load = Load(tmp_path, IMAGES, REFERENCE, body)
    with made_up_server((200, 0.25), (200, 0.75)) as url:
        load.check(url, 3)
        found = load.run(url, 2, 1)
    assert found.rate > 0
    assert found.p50_ms is not None
    assert found.p99_ms is not None
    assert 0 < found.p50_ms <= found.p99_ms


@needs_wrk
@pytest.mark.parametrize("second", [(200, 0.5), (503, 0.75)])
def test_wrong_answers_end_a_round(tmp_path: Path, second: tuple[int, float]) -> None:
    load = Load(tmp_path, IMAGES, REFERENCE)
    with made_up_server((200, 0.25), second) as url, pytest.raises(WrongAnswers, match="wrong answers"):
        load.run(url, 2, 1)


@needs_wrk
def test_an_answer_to_another_image_is_noticed(tmp_path: Path) -> None:
    load = Load(tmp_path, IMAGES, REFERENCE)
    with made_up_server((200, 0.75), (200, 0.25)) as url, pytest.raises(WrongAnswers, match="the engine"):
        load.check(url, 2)


def test_without_wrk_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        Load(tmp_path, IMAGES, REFERENCE)


@needs_wrk
def test_the_service_passes_the_check(tmp_path: Path, server: Server, shipped: Artifact) -> None:
    images = make_radiographs("jpeg", 256)
    reference = make_reference(shipped.path, images.files)
    assert len({round(probability, 3) for probability in reference.probabilities}) == len(images.files)
    Load(tmp_path, images, reference).check(server.url, 2)


def test_the_bytes_are_sent_as_they_are() -> None:
    assert encode_body(b"image", "bytes") == (b"image", "application/octet-stream")
