"""Hold a JPEG 2000 codestream to what OpenJPEG can be trusted with, before it sees it.

Source of all numbers: ISO/IEC 15444-1, annex A.
"""

from collections.abc import Iterator
from typing import Final

from app.imaging.structure import marker_segments

_START: Final = b"\xff\x4f\xff\x51"
_CODING_STYLE, _COMPONENT_CODING_STYLE, _TILE_PART_LENGTHS = 0xFF52, 0xFF53, 0xFF55
_START_OF_TILE_PART, _START_OF_DATA = 0xFF90, 0xFF93
# SIZ, CAP, CPF, COD, COC, TLM, PLM, QCD, QCC, RGN, POC, PPM, CRG, COM; MCT, MCC, MCO, CBD. Source: table A.2, and that
# of 15444-2. The length of any other is not heeded by OpenJPEG, which looks inside for these.
_MARKERS: Final = frozenset(b"\x51\x50\x59\x52\x53\x55\x57\x5c\x5d\x5e\x5f\x60\x63\x64\x74\x75\x77\x78")
_MIN_CODE_BLOCK: Final = 4  # sum of the two exponents, as they are stored: 256 samples. Encoders write 8 or 6.
_MAX_PRECINCTS: Final = 200_000
_MAX_TILE_PARTS: Final = 10_000


def trusted_codestream(frame: bytes, rows: int, columns: int, samples: int) -> bytes:
    """Cut a codestream out of the JP2 file that some encapsulate, and check it.

    OpenJPEG allocates what the codestream declares: its size has to be that of the header, and code blocks and
    precincts of a few samples, of which there are millions, are refused. OpenJPEG 2.5.4 writes out of bounds where the
    optional TLM segments contradict the tile-parts (uclouvain/openjpeg#1620): they are left out.

    Args:
        frame: With the codestream in it.
        rows: Height that the header says.
        columns: Width that it says.
        samples: Samples a pixel that it says.

    Raises:
        ValueError: It is another size, has an unknown segment, or would cost too much.
        IndexError: It ends within a segment.
    """
    codestream = frame[frame.index(_START) :]
    right, bottom, left, top, tile_width, tile_height = (_number(codestream, start, 4) for start in range(8, 32, 4))
    if (bottom - top, right - left, _number(codestream, 40, 2)) != (rows, columns, samples):
        raise ValueError("the JPEG 2000 codestream is of another size than the header says")
    tiles = -(-columns // max(tile_width, 1)) * -(-rows // max(tile_height, 1))
    kept, kept_until, header_end = [], 0, len(_START)
    for marker, start, end in marker_segments(codestream, _START_OF_TILE_PART):
        if marker >> 8 != 0xFF or marker & 0xFF not in _MARKERS:
            raise ValueError("the JPEG 2000 codestream has an unknown segment")
        _check_cost(codestream, marker, start, rows, columns, samples, tiles)
        if marker == _TILE_PART_LENGTHS:
            kept.append(codestream[kept_until:start])
            kept_until = end
        header_end = end
    for marker, start in _segments_of_tile_parts(codestream, header_end):
        _check_cost(codestream, marker, start, rows, columns, samples, tiles)
    return b"".join([*kept, codestream[kept_until:]]) if kept else codestream


def _segments_of_tile_parts(codestream: bytes, start: int) -> Iterator[tuple[int, int]]:
    """List the marker segments of the headers of tile-parts, each as marker and start. Source: A.4.2 (SOT)."""
    for _ in range(_MAX_TILE_PARTS):
        start = codestream.find(_START_OF_TILE_PART.to_bytes(2, "big"), start)
        if start < 0:
            return
        for marker, at, _ in marker_segments(codestream, _START_OF_DATA, start + 12):
            yield marker, at
        # Compressed data hold no number above 0xFF8F (B.10.1): the next SOT is the next tile-part, whatever this one's
        # length says.
        start += 12
    raise ValueError("the JPEG 2000 codestream has too many tile-parts")


def _check_cost(codestream: bytes, marker: int, start: int, rows: int, columns: int, samples: int, tiles: int) -> None:
    """Refuse coding parameters under which an image consists of very many parts. Source: A.6.1 (COD), A.6.2 (COC)."""
    if marker not in (_CODING_STYLE, _COMPONENT_CODING_STYLE):
        return
    style, parameters = (start + 4, start + 9) if marker == _CODING_STYLE else (start + 5, start + 6)
    levels = codestream[parameters]
    if codestream[parameters + 1] + codestream[parameters + 2] < _MIN_CODE_BLOCK:
        raise ValueError("the JPEG 2000 codestream has very small code blocks")
    precincts = tiles * (levels + 1)
    if codestream[style] & 1:
        for level in range(levels + 1):
            exponents, reduction = codestream[parameters + 5 + level], levels - level
            across = (columns >> reduction + (exponents & 0xF)) + 1
            down = (rows >> reduction + (exponents >> 4)) + 1
            precincts += across * down
    if precincts * samples > _MAX_PRECINCTS:
        raise ValueError("the JPEG 2000 codestream has very many tiles or precincts")


def _number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "big")
