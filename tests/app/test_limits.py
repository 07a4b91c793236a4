"""Limits of bytes, pixels, modalities and requests; and that a caller who is still sending reads the answer."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.app.answers import check
from tests.app.gates import wait_until
from tests.app.server import Server
from tests.images import dicom, encode, radiograph

MAX_BYTES = 200_000
SMALL = encode(radiograph(256, 256), "PNG")
LARGE = bytes(30_000_000)


@pytest.fixture(scope="module")
def strict(cache_dir: Path) -> Iterator[Server]:
    """A service with small limits that takes one upload at a time."""
    with Server(
        cache_dir=cache_dir, max_upload_bytes=MAX_BYTES, max_pixels=100_000, modalities="CR", max_queue=1
    ) as server:
        yield server


def chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 2**16):
        yield data[start : start + 2**16]


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["keep-alive", "close"])
@pytest.mark.parametrize(
    "body",
    [
        lambda: {"content": LARGE},
        lambda: {"content": chunks(LARGE)},
        lambda: {"files": {"file": LARGE}},
        lambda: {"content": SMALL + bytes(MAX_BYTES - len(SMALL) + 1)},
    ],
    ids=["declared", "chunked", "form", "one byte too many"],
)
def test_too_many_bytes(strict: Server, body, headers: dict[str, str]) -> None:
    answer = strict.client.post("/predict", headers=headers, **body())
    check(answer, 413, "body_too_large", (f"{MAX_BYTES} bytes",))


def test_as_many_bytes_as_allowed(strict: Server) -> None:
    padded = SMALL + bytes(MAX_BYTES - len(SMALL))
    assert strict.client.post("/predict", content=padded).status_code == 200


def test_bytes_count_after_inflation(strict: Server) -> None:
    data = dicom(radiograph(512, 512) // 128, transfer_syntax=DeflatedExplicitVRLittleEndian, modality="CR")
    assert len(data) < MAX_BYTES
    check(strict.client.post("/predict", content=data), 413, "body_too_large", ("inflates", f"{MAX_BYTES} bytes"))


def test_too_many_pixels(strict: Server) -> None:
    data = encode(radiograph(400, 300) // 64, "PNG")
    check(strict.client.post("/predict", content=data), 413, "too_many_pixels", ("300 x 400", "0.1 megapixels"))


def test_other_modalities_than_the_default(strict: Server) -> None:
    grey = radiograph(256, 256)
    assert strict.client.post("/predict", content=dicom(grey, modality="CR")).status_code == 200
    refused = strict.client.post("/predict", content=dicom(grey, modality="DX"))
    check(refused, 422, "unsupported_modality", ("'DX'", "radiographs: CR."))


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_caller_that_sends_all_before_it_reads_gets_the_answer(strict: Server, connection: str) -> None:
    """As most clients do: a connection reset under them would hide the answer."""
    caller = http.client.HTTPConnection(*strict.address, timeout=60)
    caller.request("POST", "/predict", LARGE, {"Connection": connection})
    answer = caller.getresponse()
    assert answer.status == 413
    assert b"body_too_large" in answer.read()
    caller.close()


def request_head(path: str, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: service", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def test_caller_of_http_1_0_gets_the_answer(strict: Server) -> None:
    """As nginx calls its upstreams."""
    with socket.create_connection(strict.address, timeout=60) as caller:
        caller.sendall(request_head("/predict", f"Content-Length: {len(LARGE)}", version="1.0"))
        caller.sendall(LARGE)
        answer = caller.makefile("rb").read()
    assert b" 413 " in answer.splitlines()[0]
    assert b"body_too_large" in answer


def test_answer_comes_while_the_body_is_still_being_sent(strict: Server) -> None:
    with socket.create_connection(strict.address, timeout=60) as caller:
        caller.sendall(request_head("/predict", f"Content-Length: {len(LARGE)}") + b"the beginning")
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert answer.status == 413
        assert b"body_too_large" in answer.read()
        caller.sendall(LARGE[len(b"the beginning") :])
        assert caller.recv(1) == b""  # closed, not reset


def test_caller_that_asks_first_is_not_told_to_go_on(strict: Server) -> None:
    """As curl does with large bodies."""
    with socket.create_connection(strict.address, timeout=60) as caller:
        caller.sendall(request_head("/predict", f"Content-Length: {len(LARGE)}", "Expect: 100-continue"))
        assert b" 413 " in caller.makefile("rb").readline()


@pytest.mark.parametrize("path", ["/nowhere", "/model"])
def test_body_for_an_address_that_takes_none(strict: Server, path: str) -> None:
    answer = strict.client.post(path, content=LARGE, headers={"Connection": "close"})
    assert answer.status_code in (404, 405)


def test_caller_that_goes_away_frees_its_place(strict: Server) -> None:
    gone = strict.metric("cxr_rejected_total", code="client_disconnected")
    with socket.create_connection(strict.address, timeout=60) as caller:
        caller.sendall(request_head("/predict", "Content-Length: 100000") + b"\x89PNG\r\n\x1a\n")
        wait_until(lambda: strict.metric("cxr_requests_in_progress") == 1)
        refused = strict.client.post("/predict", content=SMALL)
        check(refused, 503, "overloaded", ("1 requests", "again"))
        assert int(refused.headers["Retry-After"]) >= 1
    wait_until(lambda: strict.metric("cxr_requests_in_progress") == 0)
    assert strict.metric("cxr_rejected_total", code="client_disconnected") == gone + 1
    assert strict.client.post("/predict", content=SMALL).status_code == 200


def test_connection_is_kept_after_a_refusal_that_read_the_body(strict: Server) -> None:
    answer: httpx.Response = strict.client.post("/predict", content=b"text")
    assert answer.status_code == 415
    assert "Connection" not in answer.headers
