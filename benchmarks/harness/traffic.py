"""Mixed traffic, good and bad: what callers of all sorts send, and what must come back the same each time."""

import http.client
import json
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import pydicom.uid as uid

from benchmarks.harness.caller import encode_body
from tests.images import dicom, encode, radiograph

_SIDE: Final = 1024
_TIMEOUT_SECONDS: Final = 120
_PIECES: Final = 20
_PAUSE_SECONDS: Final = 0.05

SYNTAXES: Final = {
    "explicit": uid.ExplicitVRLittleEndian,
    "implicit": uid.ImplicitVRLittleEndian,
    "big endian": uid.ExplicitVRBigEndian,
    "RLE": uid.RLELossless,
    "JPEG lossless": uid.JPEGLosslessSV1,
    "JPEG 12 bits": uid.JPEGExtended12Bit,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
    "HTJ2K": uid.HTJ2KLossless,
}


@dataclass(frozen=True)
class Outcome:
    """What came of a request.

    Attributes:
        status: Of the answer; 0 where the caller went away before.
        code: Of a refusal.
        probability: Of COVID-19, of a prediction.
        kind: The content type of another answer.
    """

    status: int
    code: str = ""
    probability: float | None = None
    kind: str = ""

    def is_as(self, first: "Outcome", tolerance: float) -> bool:
        """Tell whether an answer to the same request is the same, probabilities within a tolerance."""
        if (self.status, self.code, self.kind) != (first.status, first.code, first.kind):
            return False
        if self.probability is None or first.probability is None:
            return self.probability is first.probability
        return abs(self.probability - first.probability) <= tolerance


class Connection:
    """One caller's connection, which is opened anew where it was closed."""

    def __init__(self, url: str) -> None:
        """Name the service."""
        self._host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_SECONDS)

    def ask(self, method: str, path: str, body: bytes = b"", *, close: bool = False, **headers: str) -> Outcome:
        """Send a request and read its answer."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if close:
            given["Connection"] = "close"
        try:
            self._connection.request(method, path, body or None, given)
            return _outcome(self._connection.getresponse())
        except (http.client.RemoteDisconnected, ConnectionError):
            # It was kept longer than the service keeps one, or refused before its body was sent.
            self.close()
            self._connection.request(method, path, body or None, given)
            return _outcome(self._connection.getresponse())

    def open_own(self) -> socket.socket:
        """Open a connection to be used by hand."""
        host, port = self._host.split(":")
        return socket.create_connection((host, int(port)), timeout=_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Close it; the next request opens another."""
        self._connection.close()


@dataclass(frozen=True)
class Request:
    """A request that is sent again and again.

    Attributes:
        name: For people.
        send: Sends it; the second argument says whether to close the connection after it.
        weight: How often, in relation to the others.
    """

    name: str
    send: Callable[[Connection, bool], Outcome]
    weight: float


def make_traffic(max_upload_bytes: int) -> list[Request]:
    """Draw and encode all that is sent.

    Args:
        max_upload_bytes: Of the service.
    """
    images = dict(_images())
    jpeg, film = images["JPEG"], images["DICOM explicit"]
    return [
        *(_post(name, data, weight=3) for name, data in images.items()),
        *(_post(f"{name}, form", data, form=True, weight=2) for name, data in images.items()),
        _post("JPEG, heatmap and preview", jpeg, "/predict?explain=true&preview=true", weight=3),
        _post("DICOM, overlay", film, "/explain", weight=3),
        _post("PNG, overlay, form", images["PNG"], "/explain", form=True, weight=3),
        *(_post(name, data, weight=1.5) for name, data in _bad_images(images)),
        *(Request(name, send, 1.5) for name, send in _bad_requests(jpeg)),
        *(Request(name, send, 0.2) for name, send in _too_large(max_upload_bytes)),
        *(Request(name, send, weight) for name, send, weight in _bad_callers(jpeg)),
        *(
            Request(f"GET {path}", lambda caller, close, path=path: caller.ask("GET", path, close=close), 1)
            for path in ("/", "/web/page.js", "/metrics", "/model", "/docs", "/openapi.json", "/livez", "/readyz")
        ),
    ]


def _images() -> Iterator[tuple[str, bytes]]:
    grey = [radiograph(_SIDE, _SIDE, seed) for seed in range(6)]
    yield "JPEG", encode(grey[0], "JPEG", quality=92)
    yield "PNG", encode(grey[1], "PNG")
    yield "PNG 16 bits", encode(grey[2].astype(np.uint16) * 257, "PNG")
    yield "PNG colour", encode(np.stack([grey[1]] * 3, axis=-1), "PNG")
    yield "WebP", encode(grey[3], "WEBP", quality=90)
    yield "TIFF 16 bits", encode(grey[4].astype(np.uint16) * 200, "TIFF")
    yield "BMP", encode(grey[5], "BMP")
    yield "small JPEG", encode(radiograph(200, 160), "JPEG")
    stored = grey[0].astype(np.uint16) * 16
    for name, syntax in SYNTAXES.items():
        yield f"DICOM {name}", dicom(stored, transfer_syntax=syntax, bits_stored=12)
    yield "DICOM inverted", dicom(stored, photometric_interpretation="MONOCHROME1", bits_stored=12)


def _bad_images(images: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for name in ("JPEG", "PNG", "WebP", "TIFF 16 bits", "DICOM explicit", "DICOM JPEG 2000", "DICOM RLE"):
        data = images[name]
        yield f"{name}, truncated", data[: len(data) // 3]
        damaged = bytearray(data)
        damaged[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
        yield f"{name}, damaged", bytes(damaged)
    yield "PNG of 60000 x 60000", _png_that_declares(60_000, images["PNG"])
    yield "DICOM that inflates to 200 MB", _deflated_bomb(200_000_000)
    yield "DICOM of another modality", dicom(radiograph(), modality="CT")
    yield "DICOM of several frames", dicom(np.stack([radiograph()] * 3), frames=3)
    yield "text", b"This is no image. " * 100
    yield "GIF", encode(radiograph(), "GIF")


def _png_that_declares(side: int, png: bytes) -> bytes:
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + png[24:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]


def _deflated_bomb(size: int) -> bytes:
    """Write a deflated DICOM object of one attribute, and zeros after it."""
    syntax = uid.DeflatedExplicitVRLittleEndian.encode()
    transfer_syntax = b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax
    modality = b"\x08\0\x60\0CS\x02\0DX"
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return bytes(128) + b"DICM" + transfer_syntax + deflate.compress(modality + bytes(size)) + deflate.flush()


def _post(name: str, data: bytes, path: str = "/predict", *, form: bool = False, weight: float) -> Request:
    body, content_type = encode_body(data, "multipart" if form else "bytes")
    return Request(
        name,
        lambda caller, close: caller.ask("POST", path, body, close=close, Content_Type=content_type),
        weight,
    )


def _bad_requests(jpeg: bytes) -> Iterator[tuple[str, Callable[[Connection, bool], Outcome]]]:
    form, content_type = encode_body(jpeg, "multipart")

    def post(body: bytes, **headers: str) -> Callable[[Connection, bool], Outcome]:
        return lambda caller, close: caller.ask("POST", "/predict", body, close=close, **headers)

    yield "empty body", post(b"")
    yield "form without its end", post(form[:-20], Content_Type=content_type)
    yield "form of another boundary", post(form, Content_Type="multipart/form-data; boundary=another")
    yield "form without boundary", post(form, Content_Type="multipart/form-data")
    yield "form without the field", post(form.replace(b'name="file"', b'name="fill"'), Content_Type=content_type)
    yield "two files", post(form[: form.rindex(b"\r\n--")] + b"\r\n" + form, Content_Type=content_type)
    yield "wrong content type", post(jpeg, Content_Type="text/html; charset=utf-8")
    yield "no HTTP", _by_hand(b"\x16\x03\x01 this is none\r\n\r\n")
    yield "no address", lambda caller, close: caller.ask("GET", "/nowhere", close=close)
    yield "wrong method", lambda caller, close: caller.ask("DELETE", "/predict", close=close)
    yield (
        "wrong parameter",
        lambda caller, close: caller.ask("POST", "/predict?explain=perhaps", jpeg, close=close),
    )


def _too_large(max_upload_bytes: int) -> Iterator[tuple[str, Callable[[Connection, bool], Outcome]]]:
    yield "too large by its length", _by_hand(_head(max_upload_bytes + 1))
    yield (
        "too large and chunked",
        _by_hand(
            b"POST /predict HTTP/1.1\r\nHost: service\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"100000\r\n" + bytes(2**20) + b"\r\n") * (max_upload_bytes // 2**20 + 1)
        ),
    )


def _bad_callers(jpeg: bytes) -> Iterator[tuple[str, Callable[[Connection, bool], Outcome], float]]:
    whole = _head(len(jpeg)) + jpeg

    def go_away(sent: bytes) -> Callable[[Connection, bool], Outcome]:
        def send(caller: Connection, _: bool) -> Outcome:
            with caller.open_own() as connection:
                connection.sendall(sent)
            return Outcome(0)

        return send

    def send_slowly(caller: Connection, _: bool) -> Outcome:
        with caller.open_own() as connection:
            step = -(-len(whole) // _PIECES)
            for start in range(0, len(whole), step):
                connection.sendall(whole[start : start + step])
                time.sleep(_PAUSE_SECONDS)
            return _read(connection)

    yield "gone in its head", go_away(whole[:30]), 1.5
    yield "gone in its body", go_away(whole[: len(whole) // 2]), 3
    yield "gone before the answer", go_away(whole), 3
    yield "gone without a word", go_away(b""), 1
    yield "slow", send_slowly, 1


def _head(length: int) -> bytes:
    return f"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Length: {length}\r\n\r\n".encode()


def _by_hand(sent: bytes) -> Callable[[Connection, bool], Outcome]:
    def send(caller: Connection, _: bool) -> Outcome:
        with caller.open_own() as connection:
            connection.sendall(sent)
            return _read(connection)

    return send


def _read(connection: socket.socket) -> Outcome:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return _outcome(answer)


def _outcome(answer: http.client.HTTPResponse) -> Outcome:
    content, kind = answer.read(), answer.headers.get_content_type()
    if kind == "application/problem+json":
        return Outcome(answer.status, code=json.loads(content)["code"])
    if kind == "application/json" and b'"probabilities"' in content[:200]:
        return Outcome(answer.status, probability=float(json.loads(content)["probabilities"]["COVID-19"]))
    return Outcome(answer.status, kind=kind)
