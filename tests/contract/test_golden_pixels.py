"""Pin preprocessing version 1: whatever changes one of these values is another version.

A model is trained on exactly these pixels. If a test here fails after an upgrade or a change, either undo
it or raise ``PREPROCESSING_VERSION`` and train again.
"""

import base64
import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid

from app.imaging import PREPROCESSING_VERSION, to_network_input, to_square
from app.imaging.decode import decode
from tests.images import dicom, encode

PINNED_AT = ((0, 0), (20, 200), (112, 112), (200, 20), (223, 223))


def pattern(height: int, width: int) -> NDArray[np.uint8]:
    """Draw edges and gradients in whole numbers, so that every platform draws the same."""
    y, x = np.mgrid[:height, :width]
    return ((255 * y // height + 3 * x + x * y // 13) % 256).astype(np.uint8)


GREY = pattern(300, 260)
COLOUR = np.dstack([GREY, 255 - GREY, GREY // 2])
SIXTEEN_BITS = GREY.astype(np.uint16) * 200 + 1000
TWELVE_BITS = GREY.astype(np.uint16) * 15 + 100
WINDOW = {"WindowCenter": 2000, "WindowWidth": 3000}

GREY_PIXELS = [1, 176, 229, 36, 65]
GREY_SHA256 = "a5a0df63771bc95ee60caeb767cc802301c81db9588e266d6c5990f3b2564f72"
COLOUR_PIXELS = [150, 109, 97, 141, 135]
COLOUR_SHA256 = "b55be4473066e349953c0a9f008ce60eea91510a4b2a2788a86707e03960bdae"
WINDOWED_PIXELS = [255, 65, 3, 229, 206]
WINDOWED_SHA256 = "4879a7b178edc3a232ff5b170b297b1c1f02d26132b4b8e40ad0b296168cecd3"
ENLARGED_PIXELS = [0, 244, 93, 23, 163]
ENLARGED_SHA256 = "ab1f8cba4b7ea55674003192f16db7f2ef0c4be89880b5a10e9ee20c79549aa0"

GOLDEN = {
    "PNG": (encode(GREY, "PNG"), GREY_PIXELS, GREY_SHA256),
    "TIFF": (encode(GREY, "TIFF"), GREY_PIXELS, GREY_SHA256),
    "TIFF, LZW": (encode(GREY, "TIFF", compression="tiff_lzw"), GREY_PIXELS, GREY_SHA256),
    "BMP": (encode(GREY, "BMP"), GREY_PIXELS, GREY_SHA256),
    "lossless WebP": (encode(GREY, "WEBP", lossless=True), GREY_PIXELS, GREY_SHA256),
    "enlarged PNG": (encode(pattern(90, 70), "PNG"), ENLARGED_PIXELS, ENLARGED_SHA256),
    "RGB PNG": (encode(COLOUR, "PNG"), COLOUR_PIXELS, COLOUR_SHA256),
    "RGB TIFF": (encode(COLOUR, "TIFF"), COLOUR_PIXELS, COLOUR_SHA256),
    "RGB BMP": (encode(COLOUR, "BMP"), COLOUR_PIXELS, COLOUR_SHA256),
    "16-bit PNG": (encode(SIXTEEN_BITS, "PNG"), GREY_PIXELS, GREY_SHA256),
    "16-bit TIFF": (encode(SIXTEEN_BITS, "TIFF"), GREY_PIXELS, GREY_SHA256),
    "DICOM": (dicom(TWELVE_BITS, bits_stored=12), GREY_PIXELS, GREY_SHA256),
    "DICOM, JPEG Lossless": (
        dicom(TWELVE_BITS, bits_stored=12, transfer_syntax=uid.JPEGLosslessSV1),
        GREY_PIXELS,
        GREY_SHA256,
    ),
    "DICOM, MONOCHROME1, window": (
        dicom(TWELVE_BITS, bits_stored=12, photometric_interpretation="MONOCHROME1", **WINDOW),
        WINDOWED_PIXELS,
        WINDOWED_SHA256,
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_lossless_formats_give_exactly_these_pixels(name):
    data, pixels, sha256 = GOLDEN[name]
    square = to_square(decode(data).pixels)
    assert PREPROCESSING_VERSION == 1
    assert [square[at] for at in PINNED_AT] == pixels
    assert hashlib.sha256(square.tobytes()).hexdigest() == sha256


# Two encoded files rather than an encoder's output of the day: 32 x 40 pixels, grey, a smooth pattern.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYn"
    "KSopGR8tMC0oMCUoKSj/wAALCAAoACABAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF"
    "BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW"
    "V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi"
    "4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/AOn8LzLDGoJroNQvY2tyAR0ryjxhD55faK83m0qQ3Gdp616xJqP2M4zjFNHiDzTt"
    "3VPHb/b+2c1N/wAItuG7Z+lcl4rdo5X21zum3MjXABJ61654Li80Jur06DTozbZwOleHeIdNa5kYhc1i2WhPHMCVPWvRfDA+yhc8"
    "Yru4tXQQY3DpXNafpAu1BK5zV2fw0Ik3bP0rnNT/ANBzjjFYT6+yvt3V/9k="
)
WEBP = base64.b64decode(
    "UklGRowAAABXRUJQVlA4IIAAAADwBQCdASogACgALnFOp1OiJaWlhYBwS0gAQ303i5Wk40XuN4e5oiaAjfz23y1KIa8aCz74svmC"
    "AAD8+C/RhgTN9CWwEzSFAk4r+MqXXyUTaN9dUojSuDyAUe8D7rncg1mdL8xCSkluT/FG2nSPWYa+m56vS1HkCIZIJZQ4h+AAAA=="
)


@pytest.mark.parametrize(
    ("data", "pixels"), [(JPEG, [122, 52, 100, 166, 104]), (WEBP, [123, 47, 100, 164, 100])], ids=["JPEG", "WebP"]
)
def test_lossy_formats_give_these_pixels_but_for_the_decoders_rounding(data, pixels):
    square = to_square(decode(data).pixels).astype(int)
    assert [square[at] for at in PINNED_AT] == pytest.approx(pixels, abs=2)


def test_the_network_input_is_the_square_over_255():
    network_input = to_network_input(to_square(GREY))
    assert network_input.shape == (224, 224, 3)
    assert network_input[112, 112].tolist() == [float(np.float32(229) / np.float32(255))] * 3
    assert hashlib.sha256(np.rint(network_input[..., 0] * 255).astype(np.uint8)).hexdigest() == GREY_SHA256
