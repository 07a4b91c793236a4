"""Pin every preprocessing version: whatever changes one of these values is another version.

A model is trained on exactly these pixels. If a test here fails after an upgrade or a change, either undo
it or add a version to ``app.imaging.preprocess`` and train again.
"""

import base64
import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from pydicom import uid

from app.imaging import to_network_input, to_square
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
    square = to_square(decode(data).pixels, version=1)
    assert [square[at] for at in PINNED_AT] == pixels
    assert hashlib.sha256(square.tobytes()).hexdigest() == sha256


CENTRE_SQUARES = {
    "portrait": (
        (300, 260),
        (slice(20, 280), slice(0, 260)),
        [18, 228, 228, 225, 164],
        "0f49abf704001cee05127f0bb6b3ce97487fe03385cdb2058b065e5a3573ad4e",
    ),
    "portrait, odd difference": (
        (301, 260),
        (slice(20, 280), slice(0, 260)),
        [17, 228, 228, 224, 163],
        "0bd7b51e3e842cab3e9ed15aa7ba952f8c59bae92b2b50768a2dce1027e214e1",
    ),
    "portrait, odd sides": (
        (301, 257),
        (slice(22, 279), slice(0, 257)),
        [19, 225, 209, 215, 69],
        "9febb76c4edc3a4ad4d68c07bfafd069cf5c0c61c4db419117f3a2c651538ebf",
    ),
    "landscape": (
        (260, 300),
        (slice(0, 260), slice(20, 280)),
        [61, 207, 31, 107, 241],
        "778d4f07592cb8e5f37c01e413b0a73772ca8837e7d3249f969fd851edb654b4",
    ),
    "landscape, odd difference": (
        (260, 301),
        (slice(0, 260), slice(20, 280)),
        [61, 207, 31, 107, 241],
        "778d4f07592cb8e5f37c01e413b0a73772ca8837e7d3249f969fd851edb654b4",
    ),
    "landscape, odd sides": (
        (257, 301),
        (slice(0, 257), slice(22, 279)),
        [67, 198, 19, 133, 154],
        "81a6f2cfec166ef1a990e264914e40d077ae1ef2f9107a26ba2b74b6accc2762",
    ),
    "enlarged": (
        (90, 70),
        (slice(10, 80), slice(0, 70)),
        [28, 51, 93, 218, 81],
        "42eae39cbff8e2fbec68a6872d6be2100d9b0094ecf5c64027488277b3962d2c",
    ),
    "square": (
        (280, 280),
        (slice(0, 280), slice(0, 280)),
        [1, 232, 39, 37, 155],
        "3abbba48a4594c3100a6633d2112904c6c1f0a918d727db585e71c043e0c12b7",
    ),
    "one pixel wide": (
        (6, 1),
        (slice(2, 3), slice(0, 1)),
        [85, 85, 85, 85, 85],
        "cc0ff93ea5d694f08f817ea828983828a219aeee42775b0f57da371ad01fff9c",
    ),
    "one pixel high": (
        (1, 5),
        (slice(0, 1), slice(2, 3)),
        [6, 6, 6, 6, 6],
        "b8a0921bfc5ce602028dd194aa9ecde05417d8930f7efbf6a54634ec53bda8a7",
    ),
    "one pixel": (
        (1, 1),
        (slice(0, 1), slice(0, 1)),
        [0, 0, 0, 0, 0],
        "6182ba8a831d4fd5a1e469cd7bbb745b23b455feadb8ba253e060b8250109906",
    ),
}


@pytest.mark.parametrize("name", CENTRE_SQUARES)
def test_version_2_gives_exactly_these_pixels_of_the_centre_square(name):
    shape, part, pixels, sha256 = CENTRE_SQUARES[name]
    grey = decode(encode(pattern(*shape), "PNG")).pixels
    square = to_square(grey, version=2)
    assert [square[at] for at in PINNED_AT] == pixels
    assert hashlib.sha256(square.tobytes()).hexdigest() == sha256
    assert np.array_equal(square, to_square(grey[part].copy(), version=1)), "nothing outside has a part in it"


def test_version_2_cuts_the_upright_image():
    """The file holds the image lying on its side; EXIF orientation 6 says so."""
    lying = np.rot90(GREY)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    square = to_square(decode(encode(lying, "PNG", exif=exif)).pixels, version=2)
    assert np.array_equal(square, to_square(GREY, version=2))


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
    square = to_square(decode(data).pixels, version=1).astype(int)
    assert [square[at] for at in PINNED_AT] == pytest.approx(pixels, abs=2)


def test_the_network_input_is_the_square_over_255():
    network_input = to_network_input(to_square(GREY, version=1))
    assert network_input.shape == (224, 224, 3)
    assert network_input[112, 112].tolist() == [float(np.float32(229) / np.float32(255))] * 3
    assert hashlib.sha256(np.rint(network_input[..., 0] * 255).astype(np.uint8)).hexdigest() == GREY_SHA256
