"""Raster formats, recognition by content, limits."""

import contextlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from app.errors import (
    CorruptImage,
    EmptyBody,
    MultipleFrames,
    TooManyPixels,
    UnsupportedFormat,
    UnsupportedPixels,
    UploadError,
)
from app.imaging import DecodeLimits
from app.imaging.decode import decode, sniff_format
from tests.images import dicom, encode, radiograph

GREY = radiograph(60, 40)
COLOUR = np.dstack([GREY, 255 - GREY, GREY // 2])
LUMA = np.asarray(Image.fromarray(COLOUR).convert("L"))
LOSSLESS = ("PNG", "TIFF", "BMP")


def save(image: Image.Image, image_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def declare_png_size(data: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def tiff(tags: list[tuple[int, int]], pixel_data: bytes, byte_order: str = "<") -> bytes:
    """Lay out a TIFF with one strip or tile, all tags LONG; the offset tag's value is filled in."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(f"{byte_order}HHII", tag, 4, 1, start if tag in (273, 324) else value) for tag, value in tags
    )
    magic = b"II*\0" if byte_order == "<" else b"MM\0*"
    return magic + struct.pack(f"{byte_order}IH", 8, len(tags)) + entries + bytes(4) + pixel_data


def grey_tiff(samples: np.ndarray, *, photometric: int = 1, byte_order: str = "<") -> bytes:
    height, width = samples.shape
    data = samples.astype(samples.dtype.newbyteorder(byte_order)).tobytes()
    tags = [(256, width), (257, height), (258, 8 * samples.itemsize), (259, 1), (262, photometric)]
    tags += [(273, 0), (277, 1), (278, height), (279, len(data))]
    return tiff(tags, data, byte_order)


@pytest.mark.parametrize("image_format", LOSSLESS)
def test_lossless_grey_is_returned_untouched(image_format):
    image = decode(encode(GREY, image_format))
    assert np.array_equal(image.pixels, GREY)
    assert image.pixels.dtype == np.uint8
    assert (image.format, image.bits, image.width, image.height) == (image_format, 8, 40, 60)


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_lossy_grey_is_close(image_format):
    image = decode(encode(GREY, image_format, quality=95))
    assert image.format == image_format
    assert np.abs(image.pixels.astype(int) - GREY).max() <= 20


@pytest.mark.parametrize("image_format", LOSSLESS)
def test_colour_becomes_luminance(image_format):
    assert np.array_equal(decode(encode(COLOUR, image_format)).pixels, LUMA)


@pytest.mark.parametrize(
    ("data", "expected", "tolerance"),
    [
        pytest.param(save(Image.fromarray(GREY).convert("P"), "PNG"), GREY, 0, id="palette PNG"),
        pytest.param(save(Image.fromarray(GREY).convert("P"), "TIFF"), GREY, 0, id="palette TIFF"),
        pytest.param(save(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"), LUMA, 2, id="CMYK TIFF"),
        pytest.param(save(Image.fromarray(GREY).convert("CMYK"), "JPEG", quality=95), GREY, 20, id="CMYK JPEG"),
    ],
)
def test_colour_models(data, expected, tolerance):
    assert np.abs(decode(data).pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("image_format", LOSSLESS)
def test_one_bit_images_are_black_and_white(image_format):
    image = decode(save(Image.fromarray(GREY > 99), image_format))
    assert np.array_equal(image.pixels, 255 * (GREY > 99))
    assert image.bits == 1


def with_colour_key(image: Image.Image, key: object) -> bytes:
    return save(image, "PNG", transparency=key)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_transparency_is_composited_on_black(image_format, alpha):
    rgba = np.dstack([GREY, GREY, GREY, np.full_like(GREY, alpha)])
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    expected = np.rint(GREY * (alpha / 255))
    assert np.abs(decode(encode(rgba, image_format, **options)).pixels - expected).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(save(Image.merge("LA", [Image.new("L", (9, 9), c) for c in (200, 0)]), "PNG"), id="LA"),
        pytest.param(with_colour_key(Image.new("L", (9, 9), 200), 200), id="grey colour key"),
        pytest.param(with_colour_key(Image.new("RGB", (9, 9), (200, 9, 9)), (200, 9, 9)), id="RGB colour key"),
        pytest.param(with_colour_key(Image.new("P", (9, 9), 3), 3), id="palette entry"),
        pytest.param(with_colour_key(Image.new("P", (9, 9), 1), b"\xff\0"), id="palette alphas"),
    ],
)
def test_what_is_fully_transparent_is_black(data):
    assert not decode(data).pixels.any()


def turned(image_format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    # What a camera held in that orientation stores: the inverse of what a viewer does.
    stored = {
        1: GREY,
        2: np.fliplr(GREY),
        3: np.rot90(GREY, 2),
        4: np.flipud(GREY),
        5: GREY.T,
        6: np.rot90(GREY),
        7: np.rot90(GREY, 2).T,
        8: np.rot90(GREY, -1),
    }[orientation]
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(image_format, {})
    return encode(np.ascontiguousarray(stored), image_format, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_exif_orientation_comes_upright(image_format, orientation):
    image = decode(turned(image_format, orientation))
    assert (image.width, image.height) == (40, 60)
    tolerance = 20 if image_format == "JPEG" else 2
    assert np.abs(image.pixels.astype(int) - GREY).max() <= tolerance


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"II*\0\xff\xff\xff\xff"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_means_upright(exif):
    assert decode(encode(GREY, "PNG", exif=exif)).pixels.shape == GREY.shape


def scaled(samples: np.ndarray) -> np.ndarray:
    low, high = float(samples.min()), float(samples.max())
    return np.rint((samples - low) / (high - low) * 255)


TWELVE_BITS = GREY.astype(np.uint16) * 16
SIXTEEN_BITS = GREY.astype(np.uint16) * 257
DEEP = {
    "16-bit PNG": (encode(SIXTEEN_BITS, "PNG"), SIXTEEN_BITS, 16),
    "12 bits in a 16-bit PNG": (encode(TWELVE_BITS, "PNG"), TWELVE_BITS, 16),
    "16-bit TIFF, little endian": (grey_tiff(SIXTEEN_BITS), SIXTEEN_BITS, 16),
    "16-bit TIFF, big endian": (grey_tiff(SIXTEEN_BITS, byte_order=">"), SIXTEEN_BITS, 16),
    "16-bit TIFF, LZW": (encode(SIXTEEN_BITS, "TIFF", compression="tiff_lzw"), SIXTEEN_BITS, 16),
    "32-bit TIFF": (encode(GREY.astype(np.int32) * 99_999 - 500, "TIFF"), GREY.astype(float), 32),
    "float TIFF": (encode(GREY.astype(np.float32) / 8 - 3, "TIFF"), GREY.astype(float), 32),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_samples_are_scaled_from_their_own_range(name):
    data, samples, bits = DEEP[name]
    image = decode(data)
    assert np.abs(image.pixels - scaled(samples)).max() <= 1  # the last bit of a float32 may round otherwise
    assert (image.pixels.min(), image.pixels.max(), image.bits) == (0, 255, bits)


def test_grey_levels_of_a_deep_image_are_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    assert np.array_equal(decode(encode(ramp, "PNG")).pixels, np.arange(256).reshape(16, 16))


def test_a_constant_deep_image_is_black():
    assert not decode(encode(np.full((9, 9), 777, np.uint16), "PNG")).pixels.any()


@pytest.mark.parametrize("samples", [GREY, SIXTEEN_BITS], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_white_is_zero_is_inverted(samples, byte_order):
    upright = decode(grey_tiff(samples, byte_order=byte_order)).pixels
    inverted = decode(grey_tiff(samples, photometric=0, byte_order=byte_order)).pixels
    assert np.array_equal(inverted, 255 - upright)


def test_samples_that_are_not_finite_are_refused():
    samples = GREY.astype(np.float32)
    samples[3, 3] = np.nan
    with pytest.raises(UnsupportedPixels, match="finite"):
        decode(encode(samples, "TIFF"))


def sixteen_bit_rgb_png() -> bytes:
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(2 * 13))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def sixteen_bit_rgb_tiff() -> bytes:
    tags = [(256, 2), (257, 2), (258, 16), (259, 1), (262, 2), (273, 0), (277, 3), (278, 2), (279, 24)]
    return tiff(tags, bytes(24))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sixteen_bit_rgb_png(), id="16-bit RGB PNG"),
        pytest.param(sixteen_bit_rgb_tiff(), id="16-bit RGB TIFF"),
        pytest.param(encode(SIXTEEN_BITS, "PNG", transparency=5), id="16-bit grey PNG with a colour key"),
        pytest.param(save(Image.new("LAB", (9, 9)), "TIFF"), id="LAB TIFF"),
    ],
)
def test_pixels_that_would_lose_levels_are_refused(data):
    with pytest.raises(UnsupportedPixels):
        decode(data)


@pytest.mark.parametrize(
    ("data", "described"),
    [
        (encode(GREY, "GIF"), "GIF"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"<svg/>", "markup"),
        (b"BMW is a make of car", "text"),
        (b"hello, WEBP and more", "text"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\x01\x02\x03", "3 bytes"),
    ],
)
def test_other_content_is_named(data, described):
    with pytest.raises(UnsupportedFormat, match=described):
        decode(data)


def test_an_animated_gif_is_a_gif():
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    with pytest.raises(UnsupportedFormat, match="GIF"):
        decode(save(frames[0], "GIF", save_all=True, append_images=frames[1:]))


def test_no_bytes():
    with pytest.raises(EmptyBody):
        sniff_format(b"")


def test_dicom_is_recognised_under_a_tiff_preamble():
    assert sniff_format(b"II*\0" + dicom(GREY)[4:]) == "DICOM"


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
def test_several_frames_are_refused(image_format):
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    with pytest.raises(MultipleFrames, match=image_format):
        decode(save(frames[0], image_format, save_all=True, append_images=frames[1:]))


def test_the_first_picture_of_an_mpo_is_read():
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    image = decode(save(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95))
    assert image.format == "JPEG"
    assert np.abs(image.pixels.astype(int) - GREY).max() <= 20


@pytest.mark.parametrize("image_format", [*LOSSLESS, "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
def test_a_truncated_image_is_corrupt(image_format, kept):
    data = encode(GREY, image_format)
    with pytest.raises(CorruptImage, match=image_format):
        decode(data[: max(18, int(kept * len(data)))])


OVERSIZED = {
    "PNG": declare_png_size(encode(GREY, "PNG"), 60_000, 60_000),
    "TIFF": tiff([(256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (273, 0), (279, 9)], bytes(9)),
    "TIFF tile": tiff(
        [(256, 9), (257, 9), (258, 8), (259, 8), (262, 1), (322, 40_000), (323, 40_000), (324, 0), (325, 9)], bytes(9)
    ),
    "DICOM": dicom(GREY, Rows=60_000, Columns=60_000),
}


@pytest.mark.parametrize("name", OVERSIZED)
def test_a_declared_size_is_refused_before_memory_is_spent(name):
    tracemalloc.start()
    try:
        with pytest.raises(TooManyPixels, match="megapixels"):
            decode(OVERSIZED[name])
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_pixel_limit_is_inclusive():
    data = encode(GREY, "PNG")
    assert decode(data, DecodeLimits(max_pixels=GREY.size)).pixels.size == GREY.size
    with pytest.raises(TooManyPixels):
        decode(data, DecodeLimits(max_pixels=GREY.size - 1))


@pytest.mark.parametrize(("height", "warned"), [(223, True), (224, False)])
def test_a_small_image_is_warned_about(height, warned):
    image = decode(encode(radiograph(height, 300), "PNG"))
    assert [warning.code for warning in image.warnings] == ["low_resolution"] * warned


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [*LOSSLESS, "JPEG", "WEBP", "16-bit PNG", "DICOM"])
def test_damage_gives_no_other_exception(name):
    random = np.random.default_rng(7)
    data = dicom(GREY) if name == "DICOM" else DEEP[name][0] if name in DEEP else encode(GREY, name)
    for _ in range(200):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[random.integers(0, min(len(data), 700), 4)] = random.integers(0, 256, 4)
        with contextlib.suppress(UploadError):
            decode(damaged.tobytes(), DecodeLimits(max_pixels=10**6))
