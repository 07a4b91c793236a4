"""Valid files of the raster formats, small, in every variant that the service may meet.

Pillow writes most of them. What it cannot write (interlaced PNG, tiles, big endian, RLE) is laid out here.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from tests.images import encode, radiograph

GREY: Final = radiograph(96, 80)
COLOUR: Final = np.dstack([GREY, 255 - GREY, GREY // 2])
ALPHA: Final = np.dstack([COLOUR, np.full_like(GREY, 128)])
DEEP: Final = GREY.astype(np.uint16) * 257
HEIGHT, WIDTH = GREY.shape

_ADAM7: Final = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Of each pass: first row, first column, steps. Source: PNG specification, 8.2."""
_PNG_COLOUR_TYPES: Final = {"grey": 0, "rgb": 2, "palette": 3, "grey-alpha": 4, "rgb-alpha": 6}
_TIFF_COMPRESSIONS: Final = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "lzma", "zstd")
"""What Pillow's libtiff writes of any kind of sample."""
_TIFF_BLOCK_OFFSETS, _TIFF_TILE_OFFSETS = 273, 324


def raster_files() -> dict[str, bytes]:
    """Make one file of every variant, by name; the name begins with the format."""
    files: dict[str, bytes] = {}
    for variants in (_png(), _jpeg(), _webp(), _tiff_by_pillow(), _tiff_by_hand(), _bmp()):
        files.update(variants)
    return files


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Lay out a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _save(image: Image.Image, image_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def _pack(samples: NDArray[Any], bits: int, byte_order: str = ">") -> bytes:
    """Pack samples, shape (H, W, C), row by row; the first in a byte's highest bits."""
    if bits >= 8:
        return samples.astype(samples.dtype.newbyteorder(byte_order)).tobytes()
    rows = samples.reshape(len(samples), -1, 1)
    return np.packbits(np.unpackbits(rows, axis=2)[..., 8 - bits :].reshape(len(rows), -1), axis=1).tobytes()


def _scanlines(samples: NDArray[Any], bits: int) -> bytes:
    return b"".join(b"\0" + _pack(row[np.newaxis], bits) for row in samples)


def _png_by_hand(samples: NDArray[Any], bits: int, colour: str, *, interlaced: bool) -> bytes:
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = b"".join(_scanlines(samples[y::dy, x::dx], bits) for y, x, dy, dx in passes)
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, _PNG_COLOUR_TYPES[colour], 0, 0, interlaced)
    palette = png_chunk(b"PLTE", np.repeat(np.arange(2**bits, dtype=np.uint8), 3).tobytes())
    chunks = [png_chunk(b"IHDR", header), palette if colour == "palette" else b""]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*chunks, png_chunk(b"IDAT", zlib.compress(data)), png_chunk(b"IEND", b"")])


def _png() -> Iterator[tuple[str, bytes]]:
    grey_alpha = np.dstack([GREY, 255 - GREY])
    samples = {
        ("grey", 1): GREY[..., None] >> 7, ("grey", 2): GREY[..., None] >> 6, ("grey", 4): GREY[..., None] >> 4,
        ("grey", 8): GREY[..., None], ("grey", 16): DEEP[..., None],
        ("rgb", 8): COLOUR, ("rgb", 16): COLOUR.astype(np.uint16) * 257,
        ("palette", 1): GREY[..., None] >> 7, ("palette", 2): GREY[..., None] >> 6,
        ("palette", 4): GREY[..., None] >> 4, ("palette", 8): GREY[..., None],
        ("grey-alpha", 8): grey_alpha, ("grey-alpha", 16): grey_alpha.astype(np.uint16) * 257,
        ("rgb-alpha", 8): ALPHA, ("rgb-alpha", 16): ALPHA.astype(np.uint16) * 257,
    }  # fmt: skip
    for (colour, bits), pixels in samples.items():
        for interlaced in (False, True):
            name = f"PNG {colour} {bits}{' interlaced' * interlaced}"
            yield name, _png_by_hand(pixels, bits, colour, interlaced=interlaced)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "made in code")
    text.add_text("Compressed", "made in code " * 20, zip=True)
    text.add_itxt("International", "in code gemacht", "de", "Kommentar", zip=True)
    grey = Image.fromarray(GREY)
    yield "PNG metadata", encode(GREY, "PNG", pnginfo=text, dpi=(72, 72), exif=_exif(6), icc_profile=_profile())
    yield "PNG grey colour key", encode(GREY, "PNG", transparency=100)
    yield "PNG RGB colour key", encode(COLOUR, "PNG", transparency=(9, 9, 9))
    yield "PNG palette alphas", _save(grey.convert("P"), "PNG", transparency=bytes(range(256)))
    yield "PNG animated", encode(COLOUR, "PNG", save_all=True, append_images=[Image.fromarray(255 - COLOUR)])


def _jpeg() -> Iterator[tuple[str, bytes]]:
    yield "JPEG grey", encode(GREY, "JPEG")
    yield "JPEG grey progressive", encode(GREY, "JPEG", progressive=True)
    yield "JPEG grey optimised", encode(GREY, "JPEG", optimize=True)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        yield f"JPEG {subsampling}", encode(COLOUR, "JPEG", subsampling=subsampling)
        yield f"JPEG {subsampling} progressive", encode(COLOUR, "JPEG", subsampling=subsampling, progressive=True)
    yield "JPEG restart intervals", encode(COLOUR, "JPEG", restart_marker_blocks=3)
    yield "JPEG RGB", encode(COLOUR, "JPEG", keep_rgb=True)
    yield "JPEG CMYK", _save(Image.fromarray(COLOUR).convert("CMYK"), "JPEG")
    yield "JPEG CMYK progressive", _save(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", progressive=True)
    yield "JPEG metadata", encode(GREY, "JPEG", exif=_exif(8), icc_profile=_profile(), comment=b"code", dpi=(72, 72))
    for orientation in range(1, 9):
        yield f"JPEG orientation {orientation}", encode(GREY, "JPEG", exif=_exif(orientation))
    yield "JPEG MPO", encode(GREY, "MPO", save_all=True, append_images=[Image.fromarray(255 - GREY)])


def _webp() -> Iterator[tuple[str, bytes]]:
    yield "WEBP lossy", encode(COLOUR, "WEBP")
    yield "WEBP lossless", encode(COLOUR, "WEBP", lossless=True)
    yield "WEBP grey", encode(GREY, "WEBP", method=0)
    yield "WEBP lossy alpha", encode(ALPHA, "WEBP")
    yield "WEBP lossless alpha", encode(ALPHA, "WEBP", lossless=True, exact=True)
    yield "WEBP metadata", encode(COLOUR, "WEBP", exif=_exif(3), icc_profile=_profile(), xmp=b"<x/>")
    yield "WEBP animated", encode(COLOUR, "WEBP", save_all=True, append_images=[Image.fromarray(255 - COLOUR)])


def _tiff_by_pillow() -> Iterator[tuple[str, bytes]]:
    grey, colour = Image.fromarray(GREY), Image.fromarray(COLOUR)
    eight_bits = {
        "grey": grey, "RGB": colour, "CMYK": colour.convert("CMYK"), "YCbCr": colour.convert("YCbCr"),
        "alpha": Image.fromarray(ALPHA), "grey-alpha": grey.convert("LA"),
    }  # fmt: skip
    others = {
        "bilevel": Image.fromarray(GREY > 99), "palette": grey.convert("P"), "16": Image.fromarray(DEEP),
        "32": Image.fromarray(GREY.astype(np.int32) * 99_999 - 500), "float": Image.fromarray(GREY / np.float32(8)),
    }  # fmt: skip
    for modes, compressions in (
        ({**eight_bits, **others}, _TIFF_COMPRESSIONS),
        (eight_bits, ("jpeg",)),
        ({"bilevel": others["bilevel"]}, ("tiff_ccitt", "group3", "group4")),
    ):
        for mode, image in modes.items():
            for compression in compressions:
                yield f"TIFF {mode} {compression}", _save(image, "TIFF", compression=compression)
    yield "TIFF predictor", encode(DEEP, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield "TIFF strips", encode(COLOUR, "TIFF", compression="tiff_adobe_deflate", strip_size=1000)
    yield "TIFF metadata", encode(GREY, "TIFF", exif=_exif(5), icc_profile=_profile(), dpi=(72, 72), description="code")
    yield "TIFF pages", encode(GREY, "TIFF", save_all=True, append_images=[Image.fromarray(255 - GREY)])


def _tiff_by_hand() -> Iterator[tuple[str, bytes]]:
    for order, name in (("<", "little"), (">", "big")):
        for samples in (GREY, DEEP, GREY.astype(np.uint32) * 99_999, GREY / np.float32(8)):
            for photometric in (0, 1):
                kind = f"TIFF by hand {name} endian {samples.dtype} photometric {photometric}"
                yield kind, _tiff([_pack(samples, 8, order)], samples, order, photometric=photometric)
    yield "TIFF by hand bits 1", _tiff([_pack(GREY[..., None] >> 7, 1)], GREY, ">", bits=1)
    yield "TIFF by hand bits 4", _tiff([_pack(GREY[..., None] >> 4, 4)], GREY, ">", bits=4)
    planes = [zlib.compress(plane.tobytes()) for plane in np.moveaxis(COLOUR, 2, 0)]
    yield "TIFF by hand planes", _tiff(planes, COLOUR, "<", photometric=2, compression=8, planar=2)
    for samples in (GREY, DEEP, COLOUR):
        padded = np.pad(samples, [(0, 0), (0, 96 - WIDTH), *[(0, 0)] * (samples.ndim - 2)])
        tiles = [zlib.compress(padded[y : y + 32, x : x + 32].tobytes()) for y in (0, 32, 64) for x in (0, 32, 64)]
        photometric = 2 if samples.ndim == 3 else 1
        data = _tiff(tiles, samples, "<", photometric=photometric, compression=8, tile=32)
        yield f"TIFF by hand tiles {samples.dtype} {samples.ndim}", data


def _tiff(
    blocks: list[bytes], samples: NDArray[Any], order: str, *, photometric: int = 1, compression: int = 1,
    bits: int = 0, planar: int = 1, tile: int = 0,
) -> bytes:  # fmt: skip
    """Lay out a TIFF: header, one image file directory, the blocks. Source: TIFF 6.0, sections 2, 8 and 15."""
    count = samples.shape[2] if samples.ndim == 3 else 1
    tags: dict[int, list[int]] = {
        256: [WIDTH], 257: [HEIGHT], 258: [bits or 8 * samples.itemsize] * count, 259: [compression],
        262: [photometric], 277: [count], 284: [planar], 339: [3 if samples.dtype.kind == "f" else 1] * count,
        **({322: [tile], 323: [tile]} if tile else {278: [HEIGHT]}),
        _TIFF_TILE_OFFSETS if tile else _TIFF_BLOCK_OFFSETS: [0] * len(blocks),
        325 if tile else 279: [len(block) for block in blocks],
    }  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    arrays_size = sum(4 * len(values) for values in tags.values() if len(values) > 1)
    ends = np.cumsum([start + arrays_size, *(len(block) for block in blocks)]).tolist()
    tags[_TIFF_TILE_OFFSETS if tile else _TIFF_BLOCK_OFFSETS] = ends[:-1]
    entries, arrays = b"", b""
    for tag, values in sorted(tags.items()):
        value = values[0] if len(values) == 1 else start + len(arrays)
        entries += struct.pack(f"{order}HHII", tag, 4, len(values), value)
        arrays += struct.pack(f"{order}{len(values)}I", *values) if len(values) > 1 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + bytes(4) + arrays + b"".join(blocks)


def _bmp() -> Iterator[tuple[str, bytes]]:
    yield "BMP 1", _save(Image.fromarray(GREY > 99), "BMP")
    yield "BMP 8", encode(GREY, "BMP")
    yield "BMP 24", encode(COLOUR, "BMP")
    yield "BMP 32", encode(ALPHA, "BMP")
    fours = _pack(GREY[..., None] >> 4, 4)
    fives = (GREY.astype("<u2") >> 3) * 0x0421
    yield "BMP 4", _bmp_by_hand(fours, 4)
    yield "BMP 16", _bmp_by_hand(fives.tobytes(), 16)
    yield "BMP 16 masks", _bmp_by_hand(fives.tobytes(), 16, 3, masks=(0x7C00, 0x03E0, 0x001F))
    yield "BMP 32 masks", _bmp_by_hand(ALPHA.tobytes(), 32, 3, masks=(0xFF0000, 0xFF00, 0xFF))
    runs = b"".join(b"".join(bytes([1, level]) for level in row) + b"\0\0" for row in GREY)
    yield "BMP RLE8", _bmp_by_hand(runs + b"\0\1", 8, 1)
    absolute = b"".join(bytes([0, WIDTH]) + row.tobytes() + b"\0\0" for row in GREY)
    yield "BMP RLE8 absolute", _bmp_by_hand(absolute + b"\0\1", 8, 1)
    pairs = b"".join(b"".join(bytes([2, level]) for level in row[::2]) + b"\0\0" for row in GREY)
    yield "BMP RLE4", _bmp_by_hand(pairs + b"\0\1", 4, 2)
    core = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24)
    yield "BMP core header", _bmp_file(core, COLOUR.tobytes())
    for size in (108, 124):
        header = struct.pack("<IiiHHIIiiII", size, WIDTH, -HEIGHT, 1, 24, 0, COLOUR.size, 0, 0, 0, 0)
        yield f"BMP header of {size}", _bmp_file(header.ljust(size, b"\0"), COLOUR.tobytes())


def _bmp_by_hand(data: bytes, bits: int, compression: int = 0, masks: tuple[int, ...] = ()) -> bytes:
    """Lay out a BMP whose rows need no padding."""
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, compression, len(data), 0, 0, 0, 0)
    levels = np.linspace(0, 255, 2**bits).astype(np.uint8) if bits <= 8 else np.empty(0, np.uint8)
    return _bmp_file(header + struct.pack(f"<{len(masks)}I", *masks) + np.repeat(levels, 4).tobytes(), data)


def _bmp_file(head: bytes, data: bytes) -> bytes:
    start = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + data


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "made in code"
    return exif.tobytes()


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
