"""Small files that declare or inflate to much: over the limit of pixels, just below it, or beside it."""

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from tests.images import dicom, encode

SIDE: Final = 3162
MAX_PIXELS: Final = 10_000_000
"""The limit under which these are bombs; a square of ``SIDE`` is just below it."""
MAX_BYTES: Final = 8 * 2**20

_MUCH: Final = 2**30


def _deflated_zeros(size: int) -> bytes:
    compressor = zlib.compressobj(9)
    block = bytes(2**20)
    return b"".join([*(compressor.compress(block) for _ in range(size // len(block))), compressor.flush()])


MUCH_DEFLATED: Final = _deflated_zeros(_MUCH)
SMALL: Final = np.full((64, 64), 7, np.uint8)


def flat(*shape: int, dtype: type[np.generic] = np.uint8) -> NDArray[Any]:
    return np.full((SIDE, SIDE, *shape), 7, dtype)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, colour: int = 0) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, png_chunk(b"IEND", b"")])


def png_with_text(text: bytes) -> bytes:
    data = encode(SMALL, "PNG")
    return data[:33] + text + data[33:]


def tiff(width: int, height: int, data: bytes, tags: dict[int, int], compression: int = 8) -> bytes:
    """A TIFF of one strip or tile; ``tags`` are added or replace."""
    entries = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries |= tags
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(entries)) + directory + bytes(4)
    )


def bmp(width: int, height: int, data: bytes = b"", compression: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(data), 1, 1, 256, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + 1024 + len(data), 0, 0, 54 + 1024) + header + bytes(1024) + data


def bmp_runs() -> bytes:
    """Each row as runs of 255 pixels."""
    row = b"\xff\x07" * (SIDE // 255) + bytes([SIDE % 255, 7, 0, 0])
    return bmp(SIDE, SIDE, row * SIDE + b"\0\1", compression=1)


def jpeg_declaring(width: int, height: int) -> bytes:
    data = encode(SMALL, "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def jpeg_of_many_scans() -> bytes:
    """A progressive JPEG in which all blocks are gone through again and again, for a few bytes each time."""
    data = encode(flat(), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * 3000 + data[-2:]


def webp_declaring() -> bytes:
    """A lossless WebP that declares 16,383 x 16,383, the most there can be. Source: WebP Lossless Bitstream, 3."""
    data = bytearray(encode(SMALL, "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    rest = int.from_bytes(data[at : at + 4], "little") >> 28
    data[at : at + 4] = (16_382 | 16_382 << 14 | rest << 28).to_bytes(4, "little")
    return bytes(data)


def jpeg_2000(rows: int, columns: int, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(np.full((rows, columns), 7, np.uint8), 0, codecformat="j2k", **options))


def jpeg_2000_of_small_tiles() -> bytes:
    """Declares tiles of 13 x 13 pixels: OpenJPEG takes memory for all of them."""
    data = bytearray(jpeg_2000(SIDE, SIDE))
    data[24:32] = struct.pack(">II", 13, 13)  # XTsiz, YTsiz
    return dicom(flat(), transfer_syntax=JPEG2000Lossless, PixelData=_encapsulated(bytes(data)))


def _encapsulated(frame: bytes) -> bytes:
    frame += bytes(len(frame) % 2)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame
    return items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def compressed(syntax: str, *, shape: tuple[int, ...] = (), dtype: type[np.generic] = np.uint8) -> bytes:
    colour = {"photometric_interpretation": "RGB"} if shape else {}
    return dicom(flat(*shape, dtype=dtype), transfer_syntax=syntax, **colour)


def declaring(syntax: str) -> bytes:
    """A small codestream under a header that declares 60,000 x 60,000."""
    return dicom(SMALL, transfer_syntax=syntax, Rows=60_000, Columns=60_000)


def header_agrees_codestream_does_not() -> bytes:
    return dicom(SMALL, transfer_syntax=JPEG2000Lossless, PixelData=_encapsulated(jpeg_2000(SIDE, SIDE + 1000)))


OVER_THE_LIMIT: Final[dict[str, Callable[[], bytes]]] = {
    "PNG, too large": lambda: png(60_000, 60_000, png_chunk(b"IDAT", MUCH_DEFLATED)),
    "JPEG, too large": lambda: jpeg_declaring(65_000, 65_000),
    "WebP, too large": webp_declaring,
    "TIFF, too large": lambda: tiff(60_000, 60_000, MUCH_DEFLATED, {}),
    "TIFF, tile, too large": lambda: tiff(
        64, 64, MUCH_DEFLATED, {322: 32_768, 323: 32_768, 324: 8, 325: len(MUCH_DEFLATED)}
    ),
    "BMP, too large": lambda: bmp(60_000, 60_000),
    "DICOM, too large": lambda: dicom(SMALL, Rows=60_000, Columns=60_000),
    "DICOM, deflated, too large": lambda: dicom(flat(dtype=np.uint16), transfer_syntax=DeflatedExplicitVRLittleEndian),
    "DICOM, JPEG 2000, too large": lambda: declaring(JPEG2000Lossless),
    "DICOM, JPEG-LS, too large": lambda: declaring(JPEGLSLossless),
    "DICOM, RLE, too large": lambda: declaring(RLELossless),
}
"""Refused with 413."""

WITHIN_THE_LIMIT: Final[dict[str, Callable[[], bytes]]] = {
    "PNG with transparency": lambda: encode(flat(4), "PNG"),
    "PNG, 16 bits": lambda: encode(flat(dtype=np.uint16), "PNG"),
    "JPEG, progressive": lambda: encode(flat(3), "JPEG", progressive=True),
    "WebP with transparency": lambda: encode(flat(4), "WEBP", lossless=True, method=0),
    "TIFF": lambda: encode(flat(4), "TIFF", compression="tiff_lzw"),
    "TIFF, 32 bits": lambda: encode(flat(dtype=np.float32), "TIFF", compression="tiff_lzw"),
    "TIFF, one strip": lambda: tiff(SIDE, SIDE, _deflated_zeros(SIDE * SIDE + 2**20), {}),
    "BMP": bmp_runs,
    "DICOM, RLE, 32 bits": lambda: compressed(RLELossless, dtype=np.uint32),
    "DICOM, JPEG 2000": lambda: compressed(JPEG2000Lossless, shape=(3,)),
    "DICOM, JPEG-LS": lambda: compressed(JPEGLSLossless, shape=(3,)),
    "DICOM, JPEG Lossless": lambda: compressed(JPEGLossless),
}
"""Answered: valid, if large."""

BESIDE_THE_LIMIT: Final[dict[str, Callable[[], bytes]]] = {
    "GIF": lambda: encode(flat(), "GIF"),
    "PNG, more than it declares": lambda: png(64, 64, png_chunk(b"IDAT", MUCH_DEFLATED)),
    "PNG, text": lambda: png_with_text(png_chunk(b"zTXt", b"Comment\0\0" + MUCH_DEFLATED)),
    "PNG, international text": lambda: png_with_text(png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + MUCH_DEFLATED)),
    "PNG, colour profile": lambda: png_with_text(png_chunk(b"iCCP", b"Profile\0\0" + MUCH_DEFLATED)),
    "PNG, many texts": lambda: png_with_text(png_chunk(b"zTXt", b"Comment\0\0" + _deflated_zeros(2**20)) * 2000),
    "JPEG, size without data": lambda: jpeg_declaring(SIDE, SIDE),
    "JPEG, many scans": jpeg_of_many_scans,
    "TIFF, more than it declares": lambda: tiff(64, 64, MUCH_DEFLATED, {}),
    "TIFF, rows a strip": lambda: tiff(64, 64, MUCH_DEFLATED, {278: 2**32 - 1}),
    "TIFF, bytes of a strip": lambda: tiff(64, 64, MUCH_DEFLATED, {279: 2**32 - 1}),
    "TIFF, bytes of a raw strip": lambda: tiff(64, 64, b"", {279: 2**32 - 1}, compression=1),
    "TIFF, samples": lambda: tiff(SIDE, SIDE, MUCH_DEFLATED, {277: 60_000}),
    "TIFF, bits a sample": lambda: tiff(SIDE, SIDE, MUCH_DEFLATED, {258: 60_000}),
    "BMP, size without data": lambda: bmp(SIDE, SIDE),
    "BMP, size without runs": lambda: bmp(SIDE, SIDE, b"\0\1", compression=1),
    "DICOM, codestream of another size": header_agrees_codestream_does_not,
    "DICOM, JPEG 2000 of small tiles": jpeg_2000_of_small_tiles,
}
"""Answered or refused as they come; what must not happen is said in the test."""
