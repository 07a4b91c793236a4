"""Where the numbers stand in a valid file that a reader believes: lengths, counts, sizes, offsets, kinds.

A mutant with one of them changed gets further than one with any byte changed. Nothing here is for damaged files.
"""

import io
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator

ByteOrder = Literal["big", "little"]


@dataclass(frozen=True, slots=True)
class Field:
    """A number in a file.

    Attributes:
        start: Offset of its first byte.
        size: Bytes.
        order: Byte order; "text" for decimal digits.
    """

    start: int
    size: int
    order: ByteOrder | Literal["text"]


def find_fields(data: bytes) -> list[Field]:
    """List the fields of a valid file."""
    finders: tuple[tuple[bytes, Callable[[bytes], Iterator[Field]]], ...] = (
        (rb".{128}DICM", _dicom),
        (rb"\x89PNG", _png),
        (rb"\xff\xd8", _jpeg),
        (rb"RIFF", _webp),
        (rb"II\*\0|MM\0\*", _tiff),
        (rb"BM", _bmp),
        (rb"", _dicom),
    )
    finder = next(finder for pattern, finder in finders if re.match(pattern, data, re.DOTALL))
    fields: dict[Field, None] = {}
    with suppress(Exception):  # Some of pydicom's files are damaged: what stands before that is enough.
        for field in finder(data):
            fields[field] = None
    return [field for field in fields if field.start + field.size <= len(data)]


def _row(start: int, order: ByteOrder, *sizes: int) -> Iterator[Field]:
    """Fields that follow each other."""
    for size in sizes:
        yield Field(start, size, order)
        start += size


def _png(data: bytes) -> Iterator[Field]:
    start = 8
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        yield from _row(start, "big", 4, 4)
        if data[start + 4 : start + 8] == b"IHDR":
            yield from _row(start + 8, "big", 4, 4, 1, 1, 1, 1, 1)
        elif data[start + 4 : start + 8] == b"eXIf":
            yield from _tiff(data[start + 8 : start + 8 + length], start + 8)
        else:
            yield from _row(start + 8, "big", *[4] * min(4, length // 4))
            yield from _row(start + 8, "big", *[1] * min(4, length))
        start += 12 + length


def _jpeg(data: bytes, base: int = 0) -> Iterator[Field]:
    """Marker segments, as JPEG, JPEG-LS and JPEG 2000 have them, to the entropy-coded data."""
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker, length = data[start + 1], int.from_bytes(data[start + 2 : start + 4], "big")
        yield from _row(base + start, "big", 2, 2)
        content = data[start + 4 : start + 2 + length]
        if content.startswith(b"Exif\0\0"):
            yield from _tiff(content[6:], base + start + 10)
        if marker == 0x51:  # SIZ of JPEG 2000
            yield from _row(base + start + 4, "big", 2, *[4] * 8, 2)
        elif marker >> 4 == 0xC or marker in (0xF7, 0x52):  # the frame's sizes, Huffman tables; COD
            yield from _row(base + start + 4, "big", 1, 2, 2)
        yield from _row(base + start + 4, "big", *[1] * min(40, len(content)))
        start += 2 + length
        if marker in (0xDA, 0x90):  # SOS, or SOT of JPEG 2000
            return


def _webp(data: bytes) -> Iterator[Field]:
    yield from _row(4, "little", 4)
    start = 12
    while start + 8 <= len(data):
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        yield from _row(start, "little", 4, 4)
        yield from _row(start + 8, "little", 4, 3, 3)
        yield from _row(start + 8, "little", *[1] * min(16, length))
        yield from _row(start + 14, "little", 2, 2)  # width and height of a lossy frame
        start += 8 + length + length % 2


def _tiff(data: bytes, base: int = 0) -> Iterator[Field]:
    order: ByteOrder = "little" if data.startswith(b"I") else "big"
    mark = "<" if order == "little" else ">"
    yield from _row(base + 2, order, 2, 4)
    (start,) = struct.unpack_from(f"{mark}I", data, 4)
    (count,) = struct.unpack_from(f"{mark}H", data, start)
    yield from _row(base + start, order, 2)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        _, kind, number, value = struct.unpack_from(f"{mark}HHII", data, entry)
        yield from _row(base + entry, order, 2, 2, 4, 4)
        yield Field(base + entry + 8, 2, order)
        item = {3: 2, 4: 4}.get(kind, 0)  # SHORT, LONG
        if item and item * number > 4:
            yield from _row(base + value, order, *[item] * min(number, 8))
    yield from _row(base + start + 2 + 12 * count, order, 4)


def _bmp(data: bytes) -> Iterator[Field]:
    yield from _row(2, "little", 4, 4, 4, 4)
    sizes = (2, 2, 2, 2) if data[14] == 12 else (4, 4, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4)
    yield from _row(18, "little", *sizes)
    if data[30] in (1, 2):  # RLE: the first runs, and their ends
        start = int.from_bytes(data[10:14], "little")
        yield from _row(start, "little", *[1] * 64)


_NUMBERS: Final = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "OW": 2, "UN": 2}
_LONG_LENGTHS: Final = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UR", "UT", "UN", "SV", "UV"})
_IMAGE_GROUP: Final = 0x0028
_GROUPS: Final = frozenset({0x0002, 0x0008, 0x0018, _IMAGE_GROUP, 0x0054, 0x7FE0})
"""Of all that the service reads."""
_PIXEL_DATA: Final = 0x7FE00010


def _dicom(data: bytes) -> Iterator[Field]:
    start = 132 if data[128:132] == b"DICM" else 4 if data.startswith(b"DICM") else 0
    is_little, is_implicit = True, False
    if data[start : start + 2] == b"\x02\0":
        stream = io.BytesIO(data)
        stream.seek(start)
        syntax = b""
        for element in data_element_generator(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2):
            yield from _dicom_element(element, data)
            if element.tag == 0x00020010 and isinstance(element.value, bytes):
                syntax = element.value.rstrip(b"\0")
        start = stream.tell()
        if syntax.endswith(b".1.99"):
            return  # deflated
        is_little, is_implicit = not syntax.endswith(b"1.2.2"), syntax.endswith(b"10008.1.2")
    else:
        is_little = data[start] != 0
        is_implicit = not data[start + 4 : start + 6].isalpha()
    stream = io.BytesIO(data)
    stream.seek(start)
    for element in data_element_generator(stream, is_implicit, is_little):
        yield from _dicom_element(element, data)


def _dicom_element(element: object, data: bytes) -> Iterator[Field]:
    """Tag, VR, length and value of an element; the codestream within, of pixel data."""
    if not isinstance(element, RawDataElement) or element.tag.group not in _GROUPS:
        return  # not read by the service; or a sequence of undefined length, whose items pydicom has read already
    order: ByteOrder = "little" if element.is_little_endian else "big"
    value = element.value if isinstance(element.value, bytes) else b""
    start, vr = element.value_tell, element.VR or ("US" if element.tag.group == _IMAGE_GROUP else "")
    is_long = not element.is_implicit_VR and vr in _LONG_LENGTHS
    header = (2, 2, 4) if element.is_implicit_VR else (2, 2, 2, 2, 4) if is_long else (2, 2, 2, 2)
    yield from _row(start - sum(header), order, *header)
    if element.tag == _PIXEL_DATA:
        yield from _encapsulated(data, start)
    elif vr in _NUMBERS:
        yield from _row(start, order, *[_NUMBERS[vr]] * min(4, len(value) // _NUMBERS[vr]))
    elif vr in ("DS", "IS"):
        yield Field(start, len(value), "text")
    elif vr == "SQ":
        yield from _row(start, order, *[2] * min(40, len(value) // 2))
        yield from _row(start, order, *[4] * min(20, len(value) // 4))


def _encapsulated(data: bytes, start: int) -> Iterator[Field]:
    """The items of encapsulated pixel data, and what a codestream's or an RLE frame's header says."""
    while data[start : start + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        yield from _row(start, "little", 2, 2, 4)
        fragment = data[start + 8 : start + 8 + length]
        if fragment[:1] == b"\xff":
            yield from _jpeg(fragment, start + 8)
        else:
            yield from _row(start + 8, "little", *[4] * min(16, length // 4))
        start += 8 + length
