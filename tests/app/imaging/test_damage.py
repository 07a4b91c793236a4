"""Damage that leaves a file readable: found where the format lets it be, and harmless oddities are not taken for it."""

import random
import struct
from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from app.errors import CorruptImage
from app.imaging.decode import decode
from tests.images import dicom, encode, radiograph

GREY: Final = radiograph(300, 260)
DEEP: Final = GREY.astype(np.uint16) * 16
COLOUR: Final = np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)

JPEGS: Final = {
    "JPEG": encode(GREY, "JPEG"),
    "JPEG, colour": encode(COLOUR, "JPEG"),
    "JPEG, progressive": encode(COLOUR, "JPEG", progressive=True),
    "JPEG, restart markers": encode(COLOUR, "JPEG", restart_marker_rows=1),
    "DICOM, JPEG": dicom(GREY, transfer_syntax=JPEGBaseline8Bit),
}
PNGS: Final = {"PNG": encode(GREY, "PNG"), "PNG, 16 bits": encode(DEEP, "PNG")}
OTHERS: Final = {
    "WebP": encode(GREY, "WEBP"),
    "WebP, lossless": encode(COLOUR, "WEBP", lossless=True),
    "BMP": encode(GREY, "BMP"),
    **{
        f"TIFF, {name}": encode(COLOUR, "TIFF", compression=name)
        for name in (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "lzma", "zstd")
    },
    **{
        syntax.name: dicom(DEEP, transfer_syntax=syntax, bits_stored=12)
        for syntax in (
            ExplicitVRLittleEndian,
            DeflatedExplicitVRLittleEndian,
            RLELossless,
            JPEGExtended12Bit,
            JPEGLosslessSV1,
            JPEGLSLossless,
            JPEG2000Lossless,
        )
    },
}
FILES: Final = JPEGS | PNGS | OTHERS


def positions(data: bytes, seed: int) -> list[int]:
    """Ten places in the pixel data, which make up the last three quarters of each file."""
    return random.Random(seed).sample(range(len(data) // 4, len(data) - 600), 10)


def zeroed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(512) + data[at + 512 :]


def with_a_gap(data: bytes, at: int) -> bytes:
    return data[:at] + data[at + 512 :]


@pytest.mark.parametrize("name", FILES)
def test_truncated_file_is_refused(name: str) -> None:
    for end in (0.3, 0.5, 0.7, 0.9):
        with pytest.raises(CorruptImage):
            decode(FILES[name][: int(end * len(FILES[name]))])


@pytest.mark.parametrize("damage", [zeroed, with_a_gap])
@pytest.mark.parametrize("name", [*JPEGS, *PNGS])
def test_file_with_a_lost_sector_is_refused(name: str, damage: Callable[[bytes, int], bytes]) -> None:
    data = FILES[name]
    for at in positions(data, seed=1):
        with pytest.raises(CorruptImage):
            decode(damage(data, at))


def test_jpeg_that_breaks_off_is_refused_though_it_has_an_end() -> None:
    """Pillow, like most viewers, fills the rest with grey."""
    data = JPEGS["JPEG"]
    with pytest.raises(CorruptImage, match="compressed data"):
        decode(data[: len(data) // 2] + b"\xff\xd9")


def test_flipped_bit_of_a_png_is_refused() -> None:
    data = PNGS["PNG"]
    for at in positions(data, seed=2):
        with pytest.raises(CorruptImage):
            decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def jpeg_with_a_gap_between_segments() -> bytes:
    data = JPEGS["JPEG"]
    at = data.index(b"\xff\xdb")
    return data[:at] + b"\xff\xe5\0\2" + bytes(11) + b"\xff\xe6\0\2" + data[at:]


def jpeg_with_damaged_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "x" * 100
    data = encode(GREY, "JPEG", exif=exif)
    return data.replace(b"II*\0\x08\0\0\0\1\0", b"II*\0\x08\0\0\0\x09\0")


HARMLESS: Final = {
    "PNG, bytes after its end": (PNGS["PNG"] + b"more", "PNG"),
    "JPEG, bytes after its end": (JPEGS["JPEG"] + b"more", "JPEG"),
    "JPEG, bytes between segments": (jpeg_with_a_gap_between_segments(), "JPEG"),
    "JPEG, damaged EXIF": (jpeg_with_damaged_exif(), "JPEG"),
    "TIFF, tag beyond the end": (
        encode(COLOUR, "TIFF", description="x" * 100).replace(
            struct.pack("<HHI", 270, 2, 101), struct.pack("<HHI", 270, 2, 10**6)
        ),
        "TIFF, None",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in a decoder
@pytest.mark.parametrize("name", HARMLESS)
def test_what_leaves_the_pixels_whole_is_no_damage(name: str) -> None:
    data, like = HARMLESS[name]
    assert data != FILES[like]
    np.testing.assert_array_equal(decode(data).pixels, decode(FILES[like]).pixels)
