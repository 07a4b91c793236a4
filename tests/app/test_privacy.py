"""Nothing that could name a person leaves an upload: not to the log, an answer, a metric or a disk, even at DEBUG."""

import base64
import io
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from app.logs import JsonFormatter
from tests.app.gates import wait_until
from tests.app.patient import BIRTH, FILE_NAME, NAME, UPLOADS, WHOLE, WORDS, find_identifiers
from tests.app.server import NO_DISK, Server
from tests.images import encode, radiograph

PNG: Final = encode(radiograph(), "PNG")
HEADERS: Final = {
    "X-Patient": NAME,
    "X-Request-ID": "mrnqx",
    "Referer": "http://mrsquib.example/zzyzx",
    "Authorization": "Bearer Zzyzx-Quentin",
    "Cookie": "patient=Zzyzx; id=MRNQX",
    "User-Agent": "Quentin/1.0",
    "X-Forwarded-For": "quentin.mrsquib.example",
    "traceparent": "zzyzx",
}

RAW: Final = (
    b"ZZYZX /quentin HTTP/1.1\r\nHost: mrnqx\r\n\r\n",
    b"REPORT /quentin?patient=Zzyzx HTTP/1.1\r\nHost: mrnqx\r\n\r\n",
    b"GET /quentin HTTP/Zzyzx\r\nHost: mrnqx\r\n\r\n",
    b"GET /predict?Zzyzx HTTP/1.1\r\nHost: mrnqx\r\nQuentin\r\n\r\n",
    b"GET /zzyzx?id=mrnqx HTTP/1.1\r\nHost: mrnqx\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: enp5enhxdWVudGlubXJucQ==\r\n\r\n",
    b"GET /zzyzx HTTP/1.1\r\nHost: mrnqx\r\nConnection: Upgrade\r\nUpgrade: quentin\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: mrnqx\r\nTransfer-Encoding: chunked\r\n\r\nZzyzx\r\n",
    b"POST /predict HTTP/1.1\r\nHost: mrnqx\r\nContent-Length: Zzyzx\r\n\r\n",
    b"\x16\x03\x01 Zzyzx Quentin mrnqx\r\n\r\n",
)
"""Requests that are none, or none of HTTP's usual ones."""


def form(boundary: bytes = b"Zzyzx", *, end: bytes = b"--\r\n", head: bytes = b"") -> bytes:
    """A multipart form with identifiers in each of its headers."""
    disposition = (
        f'Content-Disposition: form-data; name="file"; filename="{FILE_NAME}"; filename*=UTF-8\'\'Quentin.dcm\r\n'
        f"Content-Type: image/zzyzx; name=Quentin\r\nX-Patient: {NAME}\r\n"
    )
    return b"--" + boundary + b"\r\n" + disposition.encode() + head + b"\r\n" + WHOLE + b"\r\n--" + boundary + end


def ways_to_send(client: httpx.Client) -> Iterator[httpx.Response]:
    """Send identifiers in every part of a request, and in requests that are wrong."""
    multipart = {"Content-Type": "multipart/form-data; boundary=Zzyzx; charset=quentin"}
    for path in ("/predict", "/explain", "/predict?preview=true&explain=true"):
        yield client.post(path, files={"file": (FILE_NAME, WHOLE)}, headers=HEADERS)
    yield client.post("/predict", content=form(), headers=multipart)
    yield client.post("/predict", content=form(b"Quentin"), headers=multipart)
    yield client.post("/predict", content=form(end=b""), headers=multipart)
    yield client.post("/predict", content=form(head=b"Zzyzx\r\n"), headers=multipart)
    yield client.post("/predict", content=form(b"Zzyzx" * 60), headers=multipart)
    yield client.post("/predict", content=form(), headers={"Content-Type": "multipart/form-data; Zzyzx"})
    yield client.post("/predict", content=WHOLE, headers={"Content-Type": f"application/dicom; name={FILE_NAME}"})
    yield client.post("/predict", content=WHOLE, headers={"Content-Encoding": "zzyzx"})
    yield client.post("/predict", files={"Zzyzx": (FILE_NAME, WHOLE)})
    yield client.post("/predict", files=[("file", (FILE_NAME, WHOLE))] * 2)
    yield client.post("/predict", data={"file": WORDS, "Quentin": NAME})
    yield client.post("/predict", data={f"Quentin-{number}": NAME for number in range(40)}, files={"file": WHOLE})
    yield client.post("/predict?patient=Zzyzx&explain=Quentin", content=WHOLE)
    yield client.post(f"/predict/?patient={NAME}", content=WHOLE)
    yield client.post(f"/predict/{FILE_NAME}", content=WHOLE)
    for path in (f"/patients/{NAME}/mrnqx", "/Zzyzx/?id=mrnqx", "/web/Zzyzx%00mrnqx", "/docs/?Zzyzx", f"//{NAME}/.."):
        yield client.get(path, headers=HEADERS)
    yield client.request("REPORT", "/predict", content=WHOLE, headers=HEADERS)
    yield client.get("/", headers={"If-None-Match": "Zzyzx", **HEADERS})
    for path in ("/model", "/readyz", "/livez", "/openapi.json", "/docs"):
        yield client.get(f"{path}?patient=Zzyzx", headers=HEADERS)


def answer_to(server: Server, sent: bytes) -> bytes:
    """All that a service answers before it closes the connection, or is told that no more comes."""
    with socket.create_connection(server.address, timeout=60) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            return answer.read()


class Evidence:
    """All that a service said while it was sent what names a person. It runs where no byte can be written to a file."""

    def __init__(self, server: Server) -> None:
        client, fields = server.client, {"comment": WORDS, "mrnqx": "St. Mrsquib"}
        self.overlays = {name: client.post("/explain", content=data) for name, data in UPLOADS.items()}
        self.predictions = {
            name: client.post("/predict?preview=true", files={"file": (FILE_NAME, data, "image/mrnqx")}, data=fields)
            for name, data in UPLOADS.items()
        }
        self.answers = [*self.overlays.values(), *self.predictions.values(), *ways_to_send(client)]
        self.raw = [answer_to(server, sent) for sent in RAW]
        self.metrics = client.get("/metrics").text
        self.exit_code = server.stop()
        self.log, self.output = server.log(), "".join(server.stdout + server.stderr)


@pytest.fixture(scope="module")
def evidence() -> Iterator[Evidence]:
    with Server(NO_DISK, log_level="DEBUG") as server:
        yield Evidence(server)


@pytest.mark.parametrize("name", [name for name in UPLOADS if name not in ("modality", "bare text", "markup")])
def test_uploads_hold_what_is_looked_for(name: str) -> None:
    data = UPLOADS[name]
    compressed = name in ("PNG cut off", "JPEG cut off", "WebP cut off", "TIFF cut off")
    assert compressed or find_identifiers(data), name


def test_output_names_nobody(evidence: Evidence) -> None:
    assert len(evidence.log) >= len(evidence.answers)
    assert find_identifiers(evidence.output) == []


def test_answers_name_nobody(evidence: Evidence) -> None:
    for answer in evidence.answers:
        assert find_identifiers(answer.content + str(answer.headers).encode()) == [], answer.request
    for sent, raw in zip(RAW, evidence.raw, strict=True):
        assert raw.startswith(b"HTTP/1.1 4"), sent
        assert find_identifiers(raw) == [], sent


def test_metrics_name_nobody(evidence: Evidence) -> None:
    assert 'method="other method"' in evidence.metrics
    assert find_identifiers(evidence.metrics) == []


def chunks(png: bytes) -> list[bytes]:
    """The kinds of a PNG's chunks."""
    stream, kinds = io.BytesIO(png), []
    assert stream.read(8) == b"\x89PNG\r\n\x1a\n"
    while length := stream.read(4):
        kinds.append(stream.read(4))
        stream.seek(int.from_bytes(length, "big") + 4, io.SEEK_CUR)
    return kinds


@pytest.mark.parametrize("name", ["whole", "PNG", "JPEG", "WebP", "TIFF"])
def test_images_that_are_answered_hold_pixels_alone(evidence: Evidence, name: str) -> None:
    preview = base64.b64decode(evidence.predictions[name].json()["preview"])
    for image in (preview, evidence.overlays[name].content):
        assert set(chunks(image)) == {b"IHDR", b"IDAT", b"IEND"}


def test_uploads_were_answered_for_what_they_are(evidence: Evidence) -> None:
    for name, answer in evidence.predictions.items():
        assert answer.status_code in (200, 415, 422), name
    whole = ("whole", "PNG", "PNG of an odd chunk", "JPEG", "WebP", "TIFF", "BMP", "in GB18030", "in ISO_IR 144")
    assert {name: evidence.predictions[name].status_code for name in whole} == dict.fromkeys(whole, 200)
    assert all(answer.status_code < 500 for answer in evidence.answers)


def test_log_has_a_line_of_json_for_every_request(evidence: Evidence) -> None:
    lines = {line["request_id"]: line for line in evidence.log if line["message"] == "request"}
    for answer in evidence.answers:
        line = lines[answer.headers["X-Request-ID"]]
        assert line["status"] == answer.status_code
        assert {"time", "level", "logger", "method", "route", "duration_ms"} <= set(line)
    answered = lines[evidence.predictions["whole"].headers["X-Request-ID"]]
    assert (answered["format"], answered["width"], answered["height"]) == ("DICOM", 200, 256)
    assert answered["bytes"] == len(WHOLE)
    assert set(answered["timings_ms"]) == {"read", "decode", "wait", "infer"}
    refused = lines[evidence.predictions["no pixels"].headers["X-Request-ID"]]
    assert refused["code"] == "no_pixel_data"


def test_log_says_that_no_compilation_is_kept(evidence: Evidence) -> None:
    (ready,) = [line for line in evidence.log if line["message"] == "ready"]
    assert "no compilation cache" in ready["engine"]


def test_sigterm_ends_it_well(evidence: Evidence) -> None:
    assert evidence.exit_code == 0


FAILING: Final = f"""
import asyncio, gc, logging, threading
import app.api.routes, app.predictor
WORDS = {WORDS!r}
infer = app.predictor.Predictor.infer
def fail_on_black(self, squares):
    if not squares[0].any():
        raise RuntimeError(WORDS)
    return infer(self, squares)
app.predictor.Predictor.infer = fail_on_black
class Odd:
    def __del__(self):
        raise ValueError(WORDS)
def fail(*_):
    raise ValueError(WORDS)
def fail_everywhere(*_, **__):
    asyncio.get_running_loop().create_future().set_exception(ValueError(WORDS))
    asyncio.get_running_loop().call_soon(fail)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Odd()
    gc.collect()
    logging.getLogger("PIL").warning("an odd tag: %s", WORDS)
    logging.getLogger("PIL").warning("%d pixels", WORDS)
    try:
        fail()
    except ValueError as error:
        raise RuntimeError(WORDS) from error
app.api.routes.prediction_answer = fail_everywhere
"""
"""Prelude under which the engine fails on a black image, and everything around an answer to any other."""


def test_faults_of_the_service_name_nobody(cache_dir: Path) -> None:
    black = encode(radiograph() * 0, "PNG")
    with Server(FAILING, cache_dir=cache_dir, log_level="DEBUG") as server:
        answers = [server.client.post("/predict", content=data) for data in (black, PNG, PNG)]
        metrics = server.client.get("/metrics").text
        assert server.stop() == 0
    assert [answer.json()["code"] for answer in answers] == ["inference_failed", "internal_error", "internal_error"]
    text = "".join([metrics, *(answer.text for answer in answers), *server.stdout, *server.stderr])
    assert find_identifiers(text) == []
    messages = [line["message"] for line in server.log()]
    assert "an odd tag: %s" in messages
    assert messages.count("An exception that nobody caught.") >= 2  # the thread's and the finalizer's
    assert "Future exception was never retrieved" in messages
    (failed, *_) = [line for line in server.log() if line.get("code") == "internal_error"]
    assert [place.split()[0] for place in failed["exception"]] == ["RuntimeError", "ValueError"]


def test_requests_that_are_late_cut_off_or_too_many_name_nobody(cache_dir: Path) -> None:
    path = f"/predict?patient={NAME}"
    head = f"POST {path} HTTP/1.1\r\nHost: mrnqx\r\nX-Patient: {NAME}\r\nContent-Length: {len(WHOLE)}\r\n\r\n".encode()
    with Server(cache_dir=cache_dir, log_level="DEBUG", request_timeout_ms=1000, max_queue=1) as server:
        with socket.create_connection(server.address, timeout=60) as slow:
            slow.sendall(head + WHOLE[:2000])
            wait_until(lambda: server.metric("cxr_requests_in_progress") == 1)
            too_many = server.client.post(path, content=WHOLE, headers=HEADERS)
            late = slow.recv(100_000)
        with socket.create_connection(server.address, timeout=60) as cut_off:
            cut_off.sendall(head + WHOLE[:2000])
        wait_until(lambda: server.metric("cxr_rejected_total", code="client_disconnected") == 1)
        metrics = server.client.get("/metrics").content
        server.stop()
    assert too_many.status_code == 503
    assert late.startswith(b"HTTP/1.1 408")
    output = "".join(server.stdout + server.stderr).encode()
    assert find_identifiers(b"".join([too_many.content, late, metrics, output])) == []


def test_a_crash_leaves_no_memory_on_a_disk(server: Server) -> None:
    limits = Path(f"/proc/{server.pid}/limits")
    if not limits.exists():
        pytest.skip("there is no /proc")
    (line,) = [line for line in limits.read_text().splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


def test_exceptions_are_logged_without_their_messages() -> None:
    stream = io.StringIO()
    logger, handler = logging.Logger("test"), logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    try:
        try:
            raise ValueError("Zzyzx")
        except ValueError as error:
            raise RuntimeError(f"Quentin\nmrnqx {BIRTH}") from error
    except RuntimeError:
        logger.exception("failed", extra={"fields": {"request_id": "1"}})
    line = json.loads(stream.getvalue())
    assert [place.split()[0] for place in line["exception"]] == ["RuntimeError", "ValueError"]
    assert "test_exceptions_are_logged" in line["exception"][0]
    assert line["request_id"] == "1"
    assert find_identifiers(stream.getvalue()) == []
