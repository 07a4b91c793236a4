"""Damage that decoders pass over in silence, found before they see the image.

Pillow skips PNG's checksums of pixel data, and drops what libjpeg warns about: of a JPEG that breaks off it makes grey,
of one with a gap in the middle a shifted image. docs/decoding.md lists what is found in which format, and what is not.
"""

import re
import zlib
from typing import Final

import simplejpeg

from app.errors import CorruptImage
from app.imaging.structure import png_chunks

_HINT: Final = "Send the image again from where it was stored whole."

_PIXEL_DATA: Final = b"IDAT"

_LOST_DATA: Final = re.compile(
    r"premature end|bad Huffman code|instead of RST|extraneous bytes before marker 0x(c4|d[0-9a])", re.IGNORECASE
)
"""libjpeg's warnings (jerror.h) that mean wrong pixels. Others are about metadata or odd writers; what lies between the
segments of a header is none of the image's."""


def check_png_data(data: bytes) -> None:
    """Hold the pixel data of a PNG to their checksums.

    Raises:
        CorruptImage: They do not agree.
    """
    for start, end in png_chunks(data):
        if data.startswith(_PIXEL_DATA, start):
            stored = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(memoryview(data)[start:end]) != stored:
                raise CorruptImage(f"The PNG's pixel data do not agree with their checksum. {_HINT}")


def check_jpeg_data(data: bytes) -> None:
    """Read a JPEG of 8 bits to its end, at an eighth of its size, and refuse lost data.

    Raises:
        CorruptImage: Data are missing or wrong.
    """
    try:
        simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, fastupsample=True, min_factor=8, strict=True)
    except ValueError as error:
        # What else it cannot read, others may.
        if _LOST_DATA.search(str(error)):
            raise CorruptImage(f"A part of the JPEG's compressed data is missing or wrong. {_HINT}") from error
