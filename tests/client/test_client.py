"""Both clients against the real service, and what they send."""

import io
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.artifact import Artifact
from app.client import (
    ApiError,
    Busy,
    ConnectionFailed,
    CxrClient,
    ImageWarning,
    InputFacts,
    ModelIdentity,
    Refused,
    Region,
    UnexpectedAnswer,
)
from app.engines import Engine
from app.imaging import seen_region
from tests.app.fakes import FakeEngine
from tests.app.gates import WAIT_SECONDS, Gate, wait_until
from tests.app.in_process import BlockingEngine, Serve
from tests.app.server import Server
from tests.client.awaited import ClientClass
from tests.images import dicom, encode, radiograph

GREY = radiograph()
PNG = encode(GREY, "PNG")
LARGE = encode(np.random.default_rng(0).integers(0, 256, (1000, 1200), np.uint8), "PNG")  # several pieces
DICOM = dicom(GREY.astype(np.uint16) * 16, bits_stored=12)


def seen(width: int, height: int, model: Artifact) -> Region:
    """What a model sees of an image, as the client tells it."""
    return Region(**asdict(seen_region(width, height, version=model.metadata.preprocessing_version)))


@pytest.fixture
def client(client_class: ClientClass, server: Server) -> Iterator[CxrClient]:
    with client_class(server.url) as client:
        yield client


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file that is named as no service should learn."""
    path = tmp_path / "Zzyzx^Quentin" / "mrnqx.png"
    path.parent.mkdir()
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


class Recorder(httpx.MockTransport):
    """Keeps the requests, and answers them all alike."""

    def __init__(self, *answer: Any, **options: Any) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer, options
        super().__init__(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        arguments, options = self._answer
        return httpx.Response(*arguments, **options)


def findings(answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer says of the image; the rest is of the request."""
    return {name: value for name, value in answer.items() if name not in ("request_id", "timings_ms")}


@pytest.mark.parametrize("form", [str, Path, Path.read_bytes, lambda path: io.BytesIO(path.read_bytes())])
def test_predicts_from_path_bytes_and_stream(
    client: CxrClient, server: Server, shipped: Artifact, image: Path, form
) -> None:
    prediction = client.predict(form(image))
    expected = server.client.post("/predict", content=LARGE).json()
    assert findings(dict(prediction.raw)) == findings(expected)
    assert (prediction.label, prediction.threshold) == (expected["label"], expected["threshold"])
    assert prediction.probabilities == expected["probabilities"]
    assert prediction.input == InputFacts("PNG", 1200, 1000, 8, None, seen(1200, 1000, shipped))
    assert prediction.warnings == ()
    assert prediction.heatmap is None
    assert prediction.timings_ms.keys() == {"read", "decode", "wait", "infer"}
    wait_until(lambda: any(line.get("request_id") == prediction.request_id for line in server.log()))


def test_tells_model_facts_and_heatmap(client: CxrClient, server: Server, shipped: Artifact) -> None:
    prediction = client.predict(DICOM, explain=True)
    expected = server.client.post("/predict?explain=1", content=DICOM).json()
    identity = shipped.metadata
    assert prediction.model == ModelIdentity(identity.name, identity.version, shipped.digest)
    assert prediction.input == InputFacts("DICOM", 200, 256, 12, "MONOCHROME2", seen(200, 256, shipped))
    assert prediction.warnings == tuple(ImageWarning(**warning) for warning in expected["warnings"])
    assert prediction.heatmap == tuple(tuple(row) for row in expected["heatmap"])


def test_explains(client: CxrClient, server: Server) -> None:
    assert client.explain(PNG) == server.client.post("/explain", content=PNG).content


def test_tells_the_model(client: CxrClient, server: Server, shipped: Artifact) -> None:
    model, metadata = client.model(), shipped.metadata
    assert (model.name, model.version, model.digest) == (metadata.name, metadata.version, shipped.digest)
    assert (model.threshold, model.card) == (metadata.threshold, shipped.card)
    assert model.data_card == shipped.data_card
    assert model.raw == server.client.get("/model").json()
    assert (model.engine, model.metadata) == (model.raw["engine"], model.raw["metadata"])


def test_is_ready_once_the_model_is_loaded(client_class: ClientClass, serve: Serve) -> None:
    gate = Gate()

    def load() -> Engine:
        gate.wait()
        return FakeEngine()

    with serve(load, wait=False) as service, client_class(str(service.base_url)) as client:
        assert gate.reached.wait(WAIT_SECONDS)
        assert client.ready() is False
        with pytest.raises(Busy) as not_ready:
            client.predict(PNG)
        assert not_ready.value.code == "not_ready"
        gate.opened.set()
        assert service.ended.wait(WAIT_SECONDS)
        assert client.ready() is True


def test_busy_says_when_to_come_back(client_class: ClientClass, serve: Serve) -> None:
    engine = BlockingEngine()
    with serve(lambda: engine, max_queue=1) as service, ThreadPoolExecutor() as callers:
        first = callers.submit(service.post, "/predict", content=PNG)
        assert engine.gate.reached.wait(WAIT_SECONDS)
        with client_class(str(service.base_url)) as client, pytest.raises(Busy) as busy:
            client.predict(PNG)
        engine.gate.opened.set()
        assert first.result().status_code == 200
    assert (busy.value.status, busy.value.code) == (503, "overloaded")
    assert busy.value.retry_after_s is not None
    assert busy.value.retry_after_s >= 1


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [(b"", 400, "empty_body"), (b"no image", 415, "unsupported_format"), (LARGE[:-2000], 422, "corrupt_image")],
)
def test_refused_with_the_reason(client: CxrClient, server: Server, data: bytes, status: int, code: str) -> None:
    with pytest.raises(Refused) as refused:
        client.predict(data)
    expected = server.client.post("/predict", content=data).json()
    error = refused.value
    assert (error.status, error.code, error.retry_after_s) == (status, code, None)
    assert (error.title, error.detail) == (expected["title"], expected["detail"])
    assert str(error) == f"{code} ({status}): {expected['detail']}"
    # The log is written by a thread of its own.
    wait_until(
        lambda: any(line.get("request_id") == error.request_id and line["code"] == code for line in server.log())
    )


def test_too_large_is_read_although_the_rest_is_not_taken(client_class: ClientClass, serve: Serve) -> None:
    with serve(FakeEngine, max_upload_bytes=1000) as service, client_class(str(service.base_url)) as client:
        with pytest.raises(Refused) as refused:
            client.predict(bytes(30_000_000))
        assert client.ready()
    assert (refused.value.status, refused.value.code) == (413, "body_too_large")


def test_another_address_is_no_fault_of_the_image(client_class: ClientClass, server: Server) -> None:
    with client_class(f"{server.url}/elsewhere/") as client, pytest.raises(ApiError) as error:
        client.predict(PNG)
    assert type(error.value) is ApiError
    assert (error.value.status, error.value.code) == (404, "not_found")


@pytest.mark.parametrize(
    "call", [lambda c: c.predict(PNG), lambda c: c.explain(PNG), lambda c: c.model(), lambda c: c.ready()]
)
def test_nobody_answers(client_class: ClientClass, nobody: str, call) -> None:
    secret = nobody.replace("http://", "http://user:secret@")
    with client_class(secret) as client, pytest.raises(ConnectionFailed, match="Is the service running") as failed:
        call(client)
    assert isinstance(failed.value.__cause__, httpx.ConnectError)
    assert nobody in str(failed.value)


def test_cut_off_and_too_slow(client_class: ClientClass) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            client_class(url, timeout=0.1) as client,
            pytest.raises(ConnectionFailed, match=r"in time \(ReadTimeout\)") as failed,
        ):
            client.predict(PNG)
        assert isinstance(failed.value.__cause__, httpx.ReadTimeout)
        listener.accept()[0].close()
        hang_up = threading.Thread(target=lambda: listener.accept()[0].close())
        hang_up.start()
        with client_class(url) as client, pytest.raises(ConnectionFailed):
            client.model()
        hang_up.join()


def test_sends_the_bytes_and_no_name(client_class: ClientClass, image: Path) -> None:
    for given in (image, image.read_bytes(), image.open("rb")):
        transport = Recorder(400)
        with client_class(transport=transport) as client, pytest.raises(ApiError):
            client.predict(given, explain=True)
        [request] = transport.requests
        assert str(request.url) == "http://127.0.0.1:8000/predict?explain=true"
        assert request.content == LARGE
        assert request.headers["Content-Length"] == str(len(LARGE))
        assert request.headers["Content-Type"] == "application/octet-stream"
        assert "mrnqx" not in str(request.headers.raw)
        assert "Zzyzx" not in str(request.headers.raw)
        if hasattr(given, "close"):
            given.close()


def test_sends_the_key_and_nowhere_else(client_class: ClientClass) -> None:
    transport = Recorder(307, headers={"Location": "http://elsewhere.example/predict"})
    with (
        client_class("http://cxr.example/xray", api_key="k-1", transport=transport) as client,
        pytest.raises(UnexpectedAnswer, match=r"//elsewhere\.example/predict"),
    ):
        client.predict(PNG)
    [request] = transport.requests
    assert request.url == "http://cxr.example/xray/predict"
    assert request.headers["Authorization"] == "Bearer k-1"


def test_sends_no_key_unless_given(client_class: ClientClass) -> None:
    transport = Recorder(200, json={"status": "ready"})
    with client_class(transport=transport) as client:
        assert client.ready()
    assert "Authorization" not in transport.requests[0].headers


@pytest.mark.parametrize("key", ["", "secret\n", "sec ret", "sécret"])
def test_what_cannot_be_a_key(client_class: ClientClass, key: str) -> None:
    with pytest.raises(ValueError, match="API key") as error:
        client_class(api_key=key)
    assert "cret" not in str(error.value)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://127.0.0.1", "http://", "http://a:b", "/predict"])
def test_what_cannot_be_an_address(client_class: ClientClass, url: str) -> None:
    with pytest.raises(ValueError, match="Give one like http://"):
        client_class(url)


def test_takes_proxies_of_the_environment_only_if_asked(
    client_class: ClientClass, server: Server, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nobody)
    with client_class(server.url) as client:
        assert client.ready()
    with client_class(server.url, trust_env=True) as client, pytest.raises(ConnectionFailed):
        client.ready()


def test_threads_share_a_client(server: Server) -> None:
    widths = range(100, 132)
    with CxrClient(server.url) as client, ThreadPoolExecutor(8) as callers:
        predictions = callers.map(lambda width: client.predict(encode(radiograph(100, width), "PNG")), widths)
        assert [prediction.input.width for prediction in predictions] == list(widths)


def test_reads_a_pipe_to_its_end(client: CxrClient) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(LARGE)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as pipe:
        assert client.predict(pipe).input.width == 1200
    writer.join()


def test_a_file_that_cannot_be_read_is_an_os_error(client: CxrClient, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.predict(tmp_path / "vanished.png")
    with pytest.raises(IsADirectoryError):
        client.explain(tmp_path)


@pytest.mark.parametrize("length", [len(LARGE) - 1, len(LARGE) + 1], ids=["shorter", "longer"])
def test_a_file_that_changes_while_it_is_sent_is_an_os_error(client: CxrClient, length: int) -> None:
    class Changing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not self.tell():
                self.write((LARGE + b"x")[:length])
                self.truncate()
                self.seek(0)
            return super().read(size)

    with pytest.raises(OSError, match=r"became (shorter|longer) while it was being sent"):
        client.predict(Changing(LARGE))
    assert client.ready()
