"""What a file is made of, held to bounds before a library walks through it.

A file of 64 MiB can hold 16 million segments, strips or scans around an image of a few pixels. Pillow and
pydicom look at each in Python, and libjpeg goes through all pixels for every scan: that takes minutes.
"""

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Final

from app.errors import CorruptImage

MAX_READS: Final = 200_000
"""Of a file, one after the other. Pillow needs three a chunk or segment, two a run of a compressed BMP."""

_TOO_MANY_PARTS: Final = (
    "The file is made of more parts than an image needs. Save it anew with another program, in another format or "
    "without compression, and send that."
)

_PNG_SIGNATURE_BYTES: Final = 8
_PNG_END: Final = b"IEND"
_MAX_PNG_CHUNKS: Final = 60_000
"""Of the 64 MiB that are accepted by default, chunks of 1 KiB."""

_MAX_JPEG_SEGMENTS: Final = 2_000
MAX_JPEG_SCANS: Final = 32
"""Progressive files have six to about twenty. Each is a pass over all pixels."""
_JPEG_MARKER: Final = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # those with a length, and EOI
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9

_MAX_HEADER_SEGMENTS: Final = 1000  # in a header; one has about ten

_MAX_TIFF_VALUES: Final = 100_000
"""Of an attribute, the offsets of strips or tiles included: of 40 megapixels, tiles of 20 x 20 pixels."""
_TIFF_OPAQUE_TYPES: Final = frozenset({1, 2, 6, 7})  # bytes and text, which are not taken apart. Source: TIFF 6.0, 2.


class BoundedStream(BytesIO):
    """A file that gives up when it is read in too many parts."""

    def __init__(self, data: bytes, reads: int = MAX_READS) -> None:
        """Hold a file's bytes, to be read in this many parts at most."""
        super().__init__(data)
        self._reads_left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or all.

        Raises:
            CorruptImage: It was done too often.
        """
        self._reads_left -= 1
        if self._reads_left < 0:
            raise CorruptImage(_TOO_MANY_PARTS)
        return super().read(size)


def png_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """List the chunks of a PNG up to its end, each as the start of its type and the end of its data.

    Raises:
        CorruptImage: They are very many.

    Source: PNG specification, 5.2 and 5.3.
    """
    start = _PNG_SIGNATURE_BYTES
    for _ in range(_MAX_PNG_CHUNKS):
        kind = start + 4
        end = kind + 4 + int.from_bytes(data[start:kind], "big")
        if kind >= len(data):
            return
        yield kind, end
        if data.startswith(_PNG_END, kind):
            return  # What may follow is not read.
        start = end + 4
    raise CorruptImage(_TOO_MANY_PARTS)


def check_png(data: bytes) -> None:
    """Refuse a PNG with very many chunks.

    Raises:
        CorruptImage: It has too many.
    """
    for _ in png_chunks(data):
        pass


def check_jpeg(data: bytes) -> None:
    """Refuse a JPEG codestream with very many segments or scans. What else is wrong with it, its decoder finds.

    Raises:
        CorruptImage: It has too many.

    Source: ISO/IEC 10918-1, B.1.1 (markers; in entropy-coded data, 0xFF is followed by 0 or by a restart marker).
    """
    position, scans = 2, 0
    for _ in range(_MAX_JPEG_SEGMENTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1][0] == _JPEG_END:
            return
        scans += marker[1][0] == _JPEG_SCAN
        if scans > MAX_JPEG_SCANS:
            break
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    raise CorruptImage(
        f"The JPEG has more than {MAX_JPEG_SCANS} scans or {_MAX_JPEG_SEGMENTS} segments, which no camera or program "
        "writes. Open it in another program, save it anew, not progressive, and send that."
    )


def marker_segments(codestream: bytes, last: int, start: int = 2) -> Iterator[tuple[int, int, int]]:
    """List the marker segments of a header of JPEG, JPEG-LS or JPEG 2000.

    Args:
        codestream: With the header in it.
        last: The marker that ends it.
        start: Where the first segment is; after SOI or SOC by default.

    Returns:
        Of each segment before ``last``: its marker, its start and its end.

    Raises:
        ValueError: There are too many.
    """
    for _ in range(_MAX_HEADER_SEGMENTS):
        if codestream.startswith(b"\xff\xff", start):  # a fill byte
            start += 1
            continue
        marker = int.from_bytes(codestream[start : start + 2], "big")
        if marker == last:
            return
        end = start + 2 + int.from_bytes(codestream[start + 2 : start + 4], "big")
        yield marker, start, end
        start = end
    raise ValueError("the codestream's header has no end")


def check_tiff(data: bytes) -> None:
    """Refuse a TIFF with very many strips or tiles, or as many values of another kind.

    Raises:
        CorruptImage: It has too many.
        struct.error: It ends before its directory does.

    Source: TIFF 6.0, section 2.
    """
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, start)
    directory = data[start + 2 : start + 2 + 12 * entries]
    for _, kind, count, _ in struct.iter_unpack(f"{order}HHII", directory[: len(directory) // 12 * 12]):
        if kind not in _TIFF_OPAQUE_TYPES and count > _MAX_TIFF_VALUES:
            raise CorruptImage(
                f"The TIFF has {count} values in one attribute; at most {_MAX_TIFF_VALUES} are read. If the image is "
                "stored in very many strips or tiles, save it in fewer."
            )
