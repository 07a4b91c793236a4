"""Nothing that could name a person leaves an upload: not to the log, an answer or a metric, even at DEBUG."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.logs import JsonFormatter
from tests.app.server import Server
from tests.images import dicom, encode, radiograph

GREY = radiograph()
IDENTIFIERS = ("zzyzx", "quentin", "mrnqx", "st. elsewhere")
FILE_NAME = "Zzyzx_Quentin_ID-MRNQX.dcm"
PATIENT = {
    "PatientName": "Zzyzx^Quentin",
    "PatientID": "ID-MRNQX",
    "AccessionNumber": "ACCmrnqx",
    "InstitutionName": "St. Elsewhere",
    "PatientComments": "Quentin coughs",
    "OtherPatientIDs": "mrnqx-B",
}
WHOLE = dicom(GREY, **PATIENT)


def png_with_text() -> bytes:
    text = PngInfo()
    text.add_text("Comment", "Zzyzx Quentin mrnqx")
    return encode(GREY, "PNG", pnginfo=text)


def jpeg_with_text() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "Zzyzx Quentin mrnqx"  # ImageDescription
    return encode(GREY, "JPEG", exif=exif, comment=b"Zzyzx Quentin mrnqx")


TIFF_WITH_TEXT = encode(GREY, "TIFF", description="Zzyzx Quentin mrnqx", artist="St. Elsewhere")

UPLOADS = {
    "whole": WHOLE,
    "cut off in the pixels": WHOLE[:-1000],
    "cut off in the header": WHOLE[: WHOLE.index(b"Zzyzx") + 3],
    "wrong length": dicom(GREY, Rows=999, **PATIENT),
    "name where a number belongs": WHOLE.replace(b"MONOCHROME2", b"Zzyzx MRNQX"),
    "name as modality": dicom(GREY, modality="A_MODALITY").replace(b"A_MODALITY", b"ZzyzxMRNQX"),
    "name as character set": dicom(GREY, SpecificCharacterSet="ISO_IR 192").replace(b"ISO_IR 192", b"ZzyzxMRNQX"),
    "name of odd characters": dicom(GREY, **PATIENT).replace(b"ID-MRNQX", b"MRNQX\xff\xfe\xff"),
    "no pixels": dicom(GREY, PixelData=None, **PATIENT),
    "several frames": dicom(GREY.reshape(2, 128, 200), frames=2, **PATIENT),
    "bare text": b"Zzyzx Quentin, ID-MRNQX, St. Elsewhere",
    "PNG": png_with_text(),
    "PNG cut off": png_with_text()[:2000],
    "JPEG": jpeg_with_text(),
    "JPEG cut off": jpeg_with_text()[:2000],
    "TIFF": TIFF_WITH_TEXT,
    "TIFF cut off": TIFF_WITH_TEXT[: len(TIFF_WITH_TEXT) // 2],
}


class Evidence:
    """All that a service said while it was sent what names a person."""

    def __init__(self, server: Server) -> None:
        client, fields = server.client, {"comment": "Zzyzx Quentin", "mrnqx": "St. Elsewhere"}
        self.answers = [client.post("/explain", content=data) for data in UPLOADS.values()]
        self.predictions = {
            name: client.post("/predict", files={"file": (FILE_NAME, data, "image/mrnqx")}, data=fields)
            for name, data in UPLOADS.items()
        }
        self.answers += [
            *self.predictions.values(),
            client.post("/predict?patient=Zzyzx&explain=Quentin", content=WHOLE),
            client.post("/predict", content=WHOLE[:500], headers={"X-Request-ID": "mrnqx", "Referer": "http://zzyzx/"}),
            client.post("/predict", files={"Zzyzx": (FILE_NAME, WHOLE)}),
            client.post("/predict", content=WHOLE, headers={"Content-Type": "multipart/form-data; boundary=Zzyzx"}),
            client.get("/patients/Zzyzx/mrnqx"),
            client.get("/metrics"),
        ]
        self.exit_code = server.stop()
        self.log, self.output = server.log(), "".join(server.stdout + server.stderr)


@pytest.fixture(scope="module")
def evidence() -> Iterator[Evidence]:
    with Server(log_level="DEBUG") as server:
        yield Evidence(server)


def find_identifiers(text: str) -> list[str]:
    return [identifier for identifier in IDENTIFIERS if identifier in text.lower()]


def test_output_names_nobody(evidence: Evidence) -> None:
    assert len(evidence.log) >= len(evidence.answers)
    assert find_identifiers(evidence.output) == []


def test_answers_name_nobody(evidence: Evidence) -> None:
    for answer in evidence.answers:
        assert find_identifiers(answer.content.decode("latin-1") + str(answer.headers)) == []


def test_uploads_were_answered_for_what_they_are(evidence: Evidence) -> None:
    for name, answer in evidence.predictions.items():
        assert answer.status_code < 500, name
    assert [evidence.predictions[name].status_code for name in ("whole", "PNG", "JPEG", "TIFF")] == [200] * 4


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


def test_exceptions_are_logged_without_their_messages() -> None:
    stream = io.StringIO()
    logger, handler = logging.Logger("test"), logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    try:
        try:
            raise ValueError("Zzyzx")
        except ValueError as error:
            raise RuntimeError("Quentin\nmrnqx") from error
    except RuntimeError:
        logger.exception("failed", extra={"fields": {"request_id": "1"}})
    line = json.loads(stream.getvalue())
    assert [place.split()[0] for place in line["exception"]] == ["RuntimeError", "ValueError"]
    assert "test_exceptions_are_logged" in line["exception"][0]
    assert line["request_id"] == "1"
    assert find_identifiers(stream.getvalue()) == []
