"""Bad input: each kind has its own code, and a message that says what was received and what is accepted."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from app.errors import BodyTooLarge, DecoderFailed, UnlikeTraining, UploadError
from tests.app.answers import check
from tests.app.server import Server
from tests.images import dicom, encode, radiograph

GREY = radiograph(256, 200)
PNG = encode(GREY, "PNG")
ACCEPTED = "PNG, JPEG, WebP, TIFF, BMP and DICOM"
DICOM = dicom(GREY)


def declaring(width: int, height: int) -> bytes:
    """A PNG whose header declares another size."""
    header = b"IHDR" + struct.pack(">II", width, height) + PNG[24:29]
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


def animated(image_format: str) -> bytes:
    stream = io.BytesIO()
    frames = [Image.fromarray(np.roll(GREY, shift)) for shift in range(3)]
    frames[0].save(stream, image_format, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def deep_colour_png() -> bytes:
    scanlines = b"".join(b"\0" + bytes(8 * 6) for _ in range(8))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(scanlines)),
        (b"IEND", b""),
    )
    body = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def form(body: bytes, boundary: str = "; boundary=B") -> dict[str, Any]:
    return {"content": body, "headers": {"Content-Type": f"multipart/form-data{boundary}"}}


PART = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + PNG


class Case(NamedTuple):
    request: dict[str, Any]
    status: int
    code: str
    words: tuple[str, ...]


def body(data: bytes, status: int, code: str, *words: str) -> Case:
    return Case({"content": data}, status, code, words)


CASES = {
    "empty body": body(b"", 400, "empty_body", "empty", ACCEPTED),
    "empty file": Case({"files": {"file": ("a.png", b"")}}, 400, "empty_body", ("empty", ACCEPTED)),
    "no field": Case({"files": {"image": PNG}}, 400, "missing_file", ("1 other field", "'file'")),
    "empty form": Case(form(b"--B--\r\n"), 400, "missing_file", ("an empty form", "'file'")),
    "field that is no file": Case({"files": {"file": (None, b"chest.png")}}, 400, "missing_file", ("text", "'file'")),
    "two files": Case({"files": [("file", PNG), ("file", PNG)]}, 400, "too_many_files", ("2 files", "one image")),
    "two fields": Case({"files": {"file": PNG, "other": PNG}}, 400, "too_many_files", ("2 files", "one image")),
    "no boundary": Case(form(PART, ""), 400, "malformed_multipart", ("boundary",)),
    "other boundary": Case(form(PART, "; boundary=C"), 400, "malformed_multipart", ("multipart",)),
    "form cut off in the image": Case(form(PART), 400, "malformed_multipart", ("closing boundary",)),
    "form cut off in a header": Case(form(PART[:30]), 400, "malformed_multipart", ("closing boundary",)),
    "part without a name": Case(
        form(b"--B\r\nX: y\r\n\r\nz\r\n--B--\r\n"), 400, "malformed_multipart", ("Content-Disposition",)
    ),
    "nonsense for explain": Case(
        {"content": PNG, "params": {"explain": "maybe"}}, 400, "malformed_request", ("'explain'", "boolean")
    ),
    "text": body(b"Dear colleague, please find enclosed", 415, "unsupported_format", "text", ACCEPTED),
    "HTML": body(b"<!DOCTYPE html><html></html>", 415, "unsupported_format", "HTML", ACCEPTED),
    "PDF": body(b"%PDF-1.7 ...", 415, "unsupported_format", "PDF", ACCEPTED),
    "unknown bytes": body(bytes(range(50)), 415, "unsupported_format", "50 bytes", ACCEPTED),
    "animated GIF": body(animated("GIF"), 415, "unsupported_format", "GIF", ACCEPTED),
    "unknown transfer syntax": body(
        DICOM.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"),
        415, "unsupported_transfer_syntax", "1.2.840.10008.1.2.9", "JPEG 2000",
    ),
    "60000 x 60000": body(declaring(60000, 60000), 413, "too_many_pixels", "60000 x 60000", "40.0 megapixels"),
    "truncated PNG": body(PNG[: len(PNG) // 2], 422, "corrupt_image", "PNG", "whole"),
    "truncated JPEG": body(encode(GREY, "JPEG")[:3000], 422, "corrupt_image", "JPEG", "whole"),
    "PNG signature alone": body(PNG[:8], 422, "corrupt_image", "PNG"),
    "truncated DICOM": body(DICOM[: len(DICOM) // 2], 422, "corrupt_image", "DICOM"),
    "DICOM of a wrong length": body(dicom(GREY, Rows=300), 422, "corrupt_image", "DICOM"),
    "animated WebP": body(animated("WEBP"), 422, "multiple_frames", "WEBP", "single frame"),
    "multi-page TIFF": body(animated("TIFF"), 422, "multiple_frames", "TIFF", "single frame"),
    "multi-frame DICOM": body(
        dicom(np.stack([GREY] * 3), frames=3), 422, "multiple_frames", "several frames", "single-frame"
    ),
    "no pixel data": body(dicom(GREY, PixelData=None), 422, "no_pixel_data", "no pixel data", "(7FE0,0010)"),
    "CT": body(dicom(GREY, modality="CT"), 422, "unsupported_modality", "'CT'", "CR, DX, RG"),
    "lateral view": body(dicom(GREY, ViewPosition="LL"), 422, "unsupported_view", "lateral", "'LL'", "AP or PA"),
    "colour of 16 bits": body(deep_colour_png(), 422, "unsupported_pixels", "16 bits", "colour of 8 bits"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_upload(server: Server, case: Case) -> None:
    check(server.client.post("/predict", **case.request), case.status, case.code, case.words)


@pytest.mark.parametrize("name", ["empty body", "two files", "60000 x 60000", "truncated JPEG", "CT"])
def test_explain_refuses_alike(server: Server, name: str) -> None:
    case = CASES[name]
    check(server.client.post("/explain", **case.request), case.status, case.code, case.words)


@pytest.mark.parametrize("name", ["text", "truncated PNG", "no pixel data"])
def test_bad_upload_in_a_form(server: Server, name: str) -> None:
    case = CASES[name]
    answer = server.client.post("/predict", files={"file": ("chest.png", case.request["content"], "image/png")})
    check(answer, case.status, case.code, case.words)


def test_every_kind_of_bad_upload_is_tried() -> None:
    def leaves(error: type[UploadError]) -> Iterator[str]:
        if not error.__subclasses__():
            yield error.code
        for kind in error.__subclasses__():
            yield from leaves(kind)

    elsewhere = {BodyTooLarge.code, DecoderFailed.code}  # test_limits.py, decoding/test_faults.py
    elsewhere |= {kind.code for kind in UnlikeTraining.__subclasses__()}  # test_gate.py
    tried = {case.code for case in CASES.values()} | elsewhere
    assert set(leaves(UploadError)) <= tried


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/predict/again", 404, "not_found"),
        ("GET", "/static-offline-docs/..%2f..%2fcore.py", 404, "not_found"),
        ("GET", "/predict", 405, "method_not_allowed"),
        ("PUT", "/explain", 405, "method_not_allowed"),
        ("DELETE", "/model", 405, "method_not_allowed"),
    ],
)
def test_wrong_address_or_method(server: Server, method: str, path: str, status: int, code: str) -> None:
    answer = server.client.request(method, path)
    check(answer, status, code, (method, "/docs"))
    assert ("Allow" in answer.headers) == (status == 405)
