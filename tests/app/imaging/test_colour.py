"""What counts as coloured: not a tint, not marks, whatever the format."""

import numpy as np
import pytest
from pydicom.uid import JPEGBaseline8Bit

from app.imaging import DecodeLimits
from app.imaging.decode import decode
from tests.images import dicom, encode, radiograph

GREY = radiograph(300, 240)
RGB = np.stack([GREY] * 3, axis=-1)
TINTED = np.clip(RGB * np.array([0.85, 0.95, 1.1]), 0, 255).astype(np.uint8)
SCREEN = np.clip(RGB + np.linspace(-20, 20, 240)[:, None] * np.array([1.0, 0, -1]), 0, 255).astype(np.uint8)
PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (10, 8, 3), np.uint8).repeat(30, 0).repeat(30, 1)
MARKED = RGB.copy()
MARKED[10:30, 10:60] = (255, 220, 0)
TRANSPARENT = np.concatenate([PHOTOGRAPH, np.zeros((300, 240, 1), np.uint8)], axis=-1)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize(
    ("pixels", "low", "high"),
    [(GREY, 0, 0), (RGB, 0, 0), (TINTED, 0, 0.05), (SCREEN, 0, 0.05), (MARKED, 0.005, 0.05), (PHOTOGRAPH, 0.6, 1)],
    ids=["grey", "grey as RGB", "tinted", "from a screen", "marked", "photograph"],
)
def test_share_of_colour(pixels: np.ndarray, low: float, high: float, image_format: str) -> None:
    assert low <= decode(encode(pixels, image_format)).facts.coloured <= high


def test_what_is_transparent_has_no_colour() -> None:
    assert decode(encode(TRANSPARENT, "PNG")).coloured == 0


@pytest.mark.parametrize(
    ("interpretation", "syntax"),
    [("RGB", None), ("YBR_FULL", None), ("YBR_FULL_422", JPEGBaseline8Bit)],
    ids=["RGB", "YBR", "JPEG"],
)
def test_colour_in_dicom(interpretation: str, syntax: str | None) -> None:
    options = {"transfer_syntax": syntax} if syntax else {}
    of_photograph, of_grey = (
        decode(dicom(pixels, photometric_interpretation=interpretation, **options), DecodeLimits()).coloured
        for pixels in (PHOTOGRAPH, np.full_like(RGB, 128))
    )
    assert of_photograph > 0.5
    assert of_grey == 0


def test_a_grey_dicom_object_has_none() -> None:
    assert decode(dicom(GREY)).coloured == 0
