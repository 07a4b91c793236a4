"""Files whose structure alone would cost minutes, whatever image is in them. Each is refused before."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGExtended12Bit

from app.errors import CorruptImage
from app.imaging.decode import decode
from app.imaging.structure import MAX_JPEG_SCANS, MAX_READS
from tests.images import dicom, encode, radiograph

GREY = radiograph(60, 40)
JPEG = encode(GREY, "JPEG")
PROGRESSIVE = encode(GREY, "JPEG", progressive=True)
PNG = encode(GREY, "PNG")
PNG_HEADER_END = 33
SCANS = PROGRESSIVE.count(b"\xff\xda")


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there again and again."""
    last = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    return PROGRESSIVE[:-2] + last * (count - SCANS) + PROGRESSIVE[-2:]


def run_length_bmp(height: int, width: int, run: bytes) -> bytes:
    runs = (run * width + b"\0\0") * height
    start = 14 + 40 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + bytes(1024) + runs


def striped_tiff(height: int, strips: int) -> bytes:
    """One row a strip; all strips are the same bytes."""
    tags = [
        (256, 4, 1, 1), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, strips, 122),
        (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, strips, 122 + 4 * strips),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + struct.pack("<I", 1) * (2 * strips)


def too_many_parts() -> Iterator[tuple[str, bytes]]:
    private = struct.pack(">I", 0) + b"prVt" + struct.pack(">I", zlib.crc32(b"prVt"))
    yield "PNG chunks", PNG[:PNG_HEADER_END] + private * MAX_READS + PNG[PNG_HEADER_END:]
    yield "PNG chunks at the end", PNG[:-12] + private * MAX_READS + PNG[-12:]
    yield "JPEG fill bytes", JPEG[:2] + b"\xff" * (MAX_READS + 1) + JPEG[2:]
    yield "JPEG junk", JPEG[:2] + b"\xff\0" * MAX_READS + JPEG[2:]
    yield "JPEG restart markers", JPEG[:2] + b"\xff\xd0" * MAX_READS + JPEG[2:]
    yield "BMP runs", run_length_bmp(400, 400, b"\1\7")
    yield "BMP runs of nothing", run_length_bmp(400, 400, b"\0\2\0\0")


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in too_many_parts()])
def test_a_file_of_very_many_parts_is_refused(data):
    with pytest.raises(CorruptImage, match="more parts"):
        decode(data)


def test_run_length_compression_is_read():
    assert decode(run_length_bmp(60, 40, b"\1\7")).pixels.shape == (60, 40)


@pytest.mark.parametrize("segment", [b"\xff\xe2\0\2", b"\xff\xfe\0\2", b"\xff\xdb\0\2", b"\xff\xc4\0\2"])
def test_a_jpeg_of_very_many_segments_is_refused(segment):
    with pytest.raises(CorruptImage, match="segments"):
        decode(JPEG[:2] + segment * 3000 + JPEG[2:])


def test_scans_of_a_jpeg_are_counted():
    assert decode(with_scans(MAX_JPEG_SCANS)).pixels.shape == GREY.shape
    with pytest.raises(CorruptImage, match="scans"):
        decode(with_scans(MAX_JPEG_SCANS + 1))


def test_scans_of_a_jpeg_in_dicom_are_counted():
    def wrapped(count: int) -> bytes:
        return dicom(GREY, transfer_syntax=JPEGExtended12Bit, PixelData=encapsulate([with_scans(count)]))

    assert decode(wrapped(MAX_JPEG_SCANS)).pixels.shape == GREY.shape
    with pytest.raises(CorruptImage, match="scans"):
        decode(wrapped(MAX_JPEG_SCANS + 1))


def test_scans_of_a_jpeg_in_tiff_are_counted(capfd):
    def wrapped(data: bytes) -> bytes:
        tags = [(256, 40), (257, 60), (258, 8), (259, 7), (262, 1), (273, 122), (277, 1), (278, 60), (279, len(data))]
        directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + data

    assert decode(wrapped(with_scans(MAX_JPEG_SCANS - 1))).pixels.shape == GREY.shape
    with pytest.raises(CorruptImage):
        decode(wrapped(with_scans(MAX_JPEG_SCANS + 1)))


def test_a_thumbnail_and_what_follows_the_image_are_no_scans():
    thumbnail = io.BytesIO()
    Image.fromarray(GREY[:8, :8]).save(thumbnail, "JPEG")
    comment = thumbnail.getvalue() * 40
    segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    after = JPEG * (MAX_JPEG_SCANS + 1)
    assert np.array_equal(decode(JPEG[:2] + segment + JPEG[2:] + after).pixels, decode(JPEG).pixels)


def test_strips_of_a_tiff_are_counted():
    assert decode(striped_tiff(1000, 1000)).pixels.shape == (1000, 1)
    with pytest.raises(CorruptImage, match="strips"):
        decode(striped_tiff(100_001, 100_001))


@pytest.mark.parametrize("value", ["1" * 30_000 + ",x", "1\\" * 15_000 + "1", "x\\" * 15_000 + "x"])
def test_a_number_of_dicom_that_goes_on_and_on_is_refused(value):
    """The first took hours, had it been as long as a value with a length of four bytes can be."""
    data = dicom(GREY, transfer_syntax=ExplicitVRLittleEndian, WindowCenter=1, WindowWidth=1)
    start = data.index(b"\x28\0\x50\x10DS")
    text = value.encode() + b" " * (len(value) % 2)
    element = b"\x28\0\x50\x10DS" + struct.pack("<H", len(text)) + text
    with pytest.raises(CorruptImage):
        decode(data[:start] + element + data[start + 10 :])


@pytest.mark.parametrize("tag", [b"\x54\0\x20\x02", b"\x28\0\0\x30", b"\x28\0\x10\x30"])
def test_a_sequence_of_dicom_with_very_many_items_is_refused(tag):
    items = b"\xfe\xff\0\xe0\0\0\0\0" * 2000
    sequence = tag + struct.pack("<I", len(items)) + items
    data = dicom(GREY, transfer_syntax=ImplicitVRLittleEndian)
    start = data.index(b"\xe0\x7f\x10\0")
    with pytest.raises(CorruptImage):
        decode(data[:start] + sequence + data[start:])


@cache
def black_jpeg_2000() -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(np.zeros((6000, 6000), np.uint8), 0, reversible=True, codecformat="j2k"))


def jpeg_2000(*, precinct: int | None = None, code_block: int = 4, tile: int = 0, in_tile_part: bool = False) -> bytes:
    """A DICOM file of 36 megapixels with other coding parameters than its data have; exponents, as they are stored."""
    codestream = bytearray(black_jpeg_2000())
    if tile:
        codestream[24:32] = struct.pack(">II", tile, tile)
    start = codestream.index(b"\xff\x52")
    end = start + 2 + int.from_bytes(codestream[start + 2 : start + 4], "big")
    style = codestream[start:end]
    style[10:12] = [code_block, code_block]
    if precinct is not None:
        style[4] |= 1
        style += bytes([precinct << 4 | precinct]) * (style[9] + 1)
        style[2:4] = struct.pack(">H", len(style) - 2)
    if in_tile_part:
        start = end = codestream.index(b"\xff\x90") + 12
    codestream[start:end] = style
    frame = encapsulate([bytes(codestream)])
    return dicom(GREY, transfer_syntax=JPEG2000Lossless, Rows=6000, Columns=6000, PixelData=frame)


@pytest.mark.parametrize("parameters", [{}, {"precinct": 6}, {"code_block": 2}, {"tile": 64}])
def test_usual_parameters_of_jpeg_2000_reach_the_decoder(parameters, monkeypatch):
    decoded = []
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda data, out: decoded.append(data))
    decode(jpeg_2000(**parameters))
    assert len(decoded) == 1


@pytest.mark.parametrize(
    "parameters",
    [
        {"precinct": 1},
        {"precinct": 3},
        {"precinct": 1, "in_tile_part": True},
        {"code_block": 0},
        {"code_block": 0, "in_tile_part": True},
        {"tile": 24},
    ],
)
def test_a_jpeg_2000_of_very_many_parts_never_reaches_the_decoder(parameters, monkeypatch):
    """OpenJPEG takes all memory there is for some of these, each of less than a kilobyte."""
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", None)
    with pytest.raises(CorruptImage) as refusal:
        decode(jpeg_2000(**parameters))
    assert isinstance(refusal.value.__cause__, ValueError)


def test_what_follows_the_end_of_a_png_is_not_read():
    data = encode(GREY, "PNG")
    assert np.array_equal(decode(data + bytes(2**20)).pixels, decode(data).pixels)
