"""What ``POST /predict`` and ``POST /explain`` answer for images that they take."""

import base64
import io
from dataclasses import asdict

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from app.artifact import Artifact
from app.imaging import seen_region
from tests.app.server import Server
from tests.images import dicom, encode, radiograph

GREY = radiograph(320, 256)
GREY_16 = GREY.astype(np.uint16) * 16  # 12 bits of 16

IMAGES = {
    "PNG": encode(GREY, "PNG"),
    "JPEG": encode(GREY, "JPEG", quality=90),
    "WEBP": encode(GREY, "WEBP"),
    "TIFF": encode(GREY, "TIFF"),
    "BMP": encode(GREY, "BMP"),
    "DICOM": dicom(GREY_16, bits_stored=12),
}


def predict(server: Server, data: bytes, **options) -> dict:
    answer = server.client.post("/predict", content=data, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def predict_form(server: Server, file: object) -> dict:
    answer = server.client.post("/predict", files={"file": file})
    assert answer.status_code == 200, answer.text
    return answer.json()


def findings(answer: dict) -> dict:
    """What an answer says of the image; the rest is of the request."""
    return {name: value for name, value in answer.items() if name not in ("request_id", "timings_ms")}


@pytest.mark.parametrize("image_format", IMAGES)
def test_reads_every_format_as_form_and_as_body(server: Server, image_format: str) -> None:
    data = IMAGES[image_format]
    from_body, from_form = predict(server, data), predict_form(server, data)
    assert findings(from_body) == findings(from_form)
    assert from_body["input"]["format"] == image_format
    assert (from_body["input"]["width"], from_body["input"]["height"]) == (256, 320)


def test_lossless_formats_give_one_answer(server: Server) -> None:
    answers = [predict(server, IMAGES[name])["probabilities"] for name in ("PNG", "TIFF", "BMP")]
    assert answers[0] == answers[1] == answers[2]


def test_answer_holds_what_the_design_says(server: Server, shipped: Artifact) -> None:
    response = server.client.post("/predict", content=IMAGES["PNG"])
    answer = response.json()
    assert set(answer) == {
        "label", "probabilities", "threshold", "model", "input", "warnings", "heatmap", "preview", "request_id",
        "timings_ms",
    }  # fmt: skip
    assert list(answer["probabilities"]) == ["non-COVID", "COVID-19"] == list(shipped.metadata.labels)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["threshold"] == shipped.metadata.threshold
    reached = answer["probabilities"]["COVID-19"] >= answer["threshold"]
    assert answer["label"] == ("COVID-19" if reached else "non-COVID")
    assert answer["input"] == {
        "format": "PNG", "width": 256, "height": 320, "bits": 8, "photometric_interpretation": None,
        "seen_region": asdict(seen_region(256, 320, version=shipped.metadata.preprocessing_version)),
    }  # fmt: skip
    assert answer["warnings"] == []
    assert answer["heatmap"] is None
    assert answer["preview"] is None
    assert answer["request_id"] == response.headers["X-Request-ID"]
    assert set(answer["timings_ms"]) == {"read", "decode", "wait", "infer"}
    assert all(value >= 0 for value in answer["timings_ms"].values())


def test_requests_have_ids_of_their_own(server: Server) -> None:
    assert predict(server, IMAGES["PNG"])["request_id"] != predict(server, IMAGES["PNG"])["request_id"]


def test_model_is_the_one_that_model_describes(server: Server, shipped: Artifact) -> None:
    described = server.client.get("/model").json()
    identity = predict(server, IMAGES["PNG"])["model"]
    assert identity == {
        "name": described["metadata"]["name"],
        "version": described["metadata"]["version"],
        "digest": described["digest"],
    }
    assert described["digest"] == shipped.digest
    assert (described["card"], described["data_card"]) == (shipped.card, shipped.data_card)
    assert described["engine"].startswith("OpenVINO ")
    assert "f32" in described["engine"]


def test_dicom_answers_how_its_pixels_are_stored(server: Server) -> None:
    white_is_zero = dicom(GREY_16.max() - GREY_16, bits_stored=12, photometric_interpretation="MONOCHROME1")
    answer = predict(server, white_is_zero)
    assert answer["input"]["bits"] == 12
    assert answer["input"]["photometric_interpretation"] == "MONOCHROME1"
    assert answer["probabilities"] == pytest.approx(predict(server, IMAGES["DICOM"])["probabilities"], abs=0.01)


def test_16_bits_keep_their_grey_levels(server: Server) -> None:
    stretched = np.rint((GREY - GREY.min()) * (255 / np.ptp(GREY))).astype(np.uint8)
    answer = predict(server, encode(GREY_16, "PNG"))
    assert answer["input"]["bits"] == 16
    assert answer["probabilities"] == pytest.approx(
        predict(server, encode(stretched, "PNG"))["probabilities"], abs=0.01
    )


def test_small_image_is_answered_with_a_warning(server: Server) -> None:
    (warning,) = predict(server, encode(radiograph(100, 80), "PNG"))["warnings"]
    assert warning["code"] == "low_resolution"
    assert "80 x 100" in warning["message"]


@pytest.mark.parametrize(
    "file",
    [
        ("xray.png", IMAGES["JPEG"], "image/png"),
        ("report.txt", IMAGES["DICOM"], "text/plain"),
        ("no-extension", IMAGES["TIFF"], "image/jpeg"),
        ("röntgen\u202egnp.exe", IMAGES["BMP"], "application/x-msdownload"),
    ],
    ids=["JPEG named .png", "DICOM named .txt", "no extension", "odd name"],
)
def test_name_and_type_of_a_form_file_do_not_matter(server: Server, file: tuple[str, bytes, str]) -> None:
    assert findings(predict_form(server, file)) == findings(predict(server, file[1]))


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "image/gif", "application/json", "nonsense"]
)
def test_type_of_a_bare_body_does_not_matter(server: Server, media_type: str) -> None:
    """``curl --data-binary`` says application/x-www-form-urlencoded."""
    answer = predict(server, IMAGES["JPEG"], headers={"Content-Type": media_type})
    assert answer["input"]["format"] == "JPEG"


def test_form_may_hold_other_fields(server: Server) -> None:
    answer = server.client.post("/predict", data={"ward": "3", "note": ""}, files={"file": IMAGES["PNG"]})
    assert answer.status_code == 200


def test_compressed_dicom(server: Server) -> None:
    assert findings(predict(server, dicom(GREY, transfer_syntax=JPEG2000Lossless))) == findings(
        predict(server, dicom(GREY))
    )


def test_full_size_digital_radiograph(server: Server) -> None:
    data = dicom(np.tile(GREY_16, (14, 17))[:4300, :4300], bits_stored=12)
    assert len(data) > 4300 * 4300 * 2
    assert predict(server, data)["input"]["width"] == 4300


def test_explain_adds_the_heatmap(server: Server) -> None:
    heatmap = np.array(predict(server, IMAGES["PNG"], params={"explain": "true"})["heatmap"])
    assert heatmap.ndim == 2
    assert min(heatmap.shape) > 1
    assert heatmap.min() >= 0
    assert heatmap.max() <= 1


def test_preview_is_the_decoded_image(server: Server) -> None:
    stored = dicom(255 - GREY, photometric_interpretation="MONOCHROME1", WindowCenter=128, WindowWidth=256)
    preview = predict(server, stored, params={"preview": "true"})["preview"]
    with Image.open(io.BytesIO(base64.b64decode(preview))) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_allclose(np.asarray(image).astype(int), GREY, atol=1)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((320, 256), (256, 320)), ((300, 1200), (1024, 256)), ((3, 4000), (1024, 1))],
    ids=["as it is", "reduced to 1024", "a strip"],
)
def test_explain_answers_the_image_in_its_aspect_ratio(
    server: Server, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    answer = server.client.post("/explain", content=encode(np.resize(GREY, shape), "PNG"))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        assert image.size == size


def test_explain_takes_a_form_too(server: Server) -> None:
    answers: list[httpx.Response] = [
        server.client.post("/explain", files={"file": IMAGES["DICOM"]}),
        server.client.post("/explain", content=IMAGES["DICOM"]),
    ]
    assert answers[0].content == answers[1].content
