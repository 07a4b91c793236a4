"""Uploaded bytes to a grey image.

The content decides the format; names and declared types are never consulted. The declared size is
checked before a pixel is decoded. Raster formats are read by Pillow, DICOM by ``app.imaging.dicom``.
"""

import logging
import os
import re
import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, TiffImagePlugin, UnidentifiedImageError

from app.errors import CorruptImage, CxrError, EmptyBody, MultipleFrames, UnsupportedFormat, UnsupportedPixels
from app.imaging.colour import coloured_share
from app.imaging.damage import check_jpeg_data, check_png_data
from app.imaging.dicom import decode_dicom
from app.imaging.grey import (
    ACCEPTED_FORMATS,
    DecodeLimits,
    GreyImage,
    check_pixel_count,
    resolution_warnings,
    scale_to_uint8,
)
from app.imaging.structure import MAX_JPEG_SCANS, BoundedStream, check_jpeg, check_png, check_tiff

# Our own limit is checked on every image, before decoding; Pillow's process-wide one would only answer
# first, with a message that does not say what is accepted.
Image.MAX_IMAGE_PIXELS = None
# Pillow reads the big-endian 16-bit grey of TIFF only where black is zero.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
# libtiff's own limit on the scans of a JPEG within is three times ours. It reads this variable for every file.
os.environ["LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER"] = str(MAX_JPEG_SCANS)
# Pillow warns about damaged metadata that it can do without, and logs as errors what an upload is to blame for.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

# Searched in this order. DICOM stands first: its free preamble may hold another format's signature (PS3.10, 7.1).
_SIGNATURES: Final = (
    (rb".{128}DICM", "DICOM"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"RIFF.{4}WEBP", "WEBP"),
    (rb"II\*\0|MM\0\*", "TIFF"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),  # with the size of a known header
    # DICOM without its preamble: file meta information, or the low groups that a data set starts with and
    # the VR (explicit), the VR in big endian, or a length below 64 KiB (implicit). Source: PS3.5, 7.1.
    (rb"DICM\x02\0|\x02\0[\0-\x20]\0[A-Z]{2}", "DICOM"),
    (rb"\x08\0.\0[A-Z]{2}|\0\x08\0.[A-Z]{2}|\x08\0.\0..\0\0", "DICOM"),
)

_REFUSED_SIGNATURES: Final = (
    (rb"GIF8", "a GIF image"),
    (rb"II\+\0|MM\0\+", "a BigTIFF image"),
    (rb"%PDF", "a PDF document"),
    (rb"PK\x03\x04", "a ZIP archive or an office document"),
    (rb"\x1f\x8b", "gzip-compressed data"),
    (rb".{4}jP  ", "a JPEG 2000 image outside DICOM"),
    (rb"\xff\x4f\xff\x51", "a JPEG 2000 codestream outside DICOM"),
    (rb".{4}ftyp", "an ISO media file (HEIC, AVIF or video)"),
    (rb"\s*<", "markup (HTML, XML or SVG)"),
    (rb"[\t\n\f\r\x20-\xff]{1,512}\Z|[\t\n\f\r\x20-\xff]{512}", "text"),
)

_STRUCTURE_CHECKS: Final = {"PNG": check_png, "JPEG": check_jpeg, "TIFF": check_tiff}
_DATA_CHECKS: Final = {"PNG": check_png_data, "JPEG": check_jpeg_data}

_DEEP_MODES: Final = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_GREY_MODES: Final = _DEEP_MODES | {"1", "L", "LA"}

# Tags and values of TIFF 6.0, sections 8 and 15.
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC, _TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 258, 262, 322, 323
_TIFF_WHITE_IS_ZERO: Final = 0


def decode(data: bytes, limits: DecodeLimits | None = None) -> GreyImage:
    """Decode one image of any accepted format to grey levels.

    Args:
        data: The file's bytes.
        limits: Bounds on pixels and bytes, and the DICOM modalities to accept; the defaults if None.

    Returns:
        The grey image, upright.

    Raises:
        EmptyBody: No bytes.
        UnsupportedType: Content of another type; the message names it where it is recognised.
        TooLarge: The declared size is over a limit.
        UnusableImage: A damaged, multi-frame or otherwise unusable image.
    """
    limits = limits or DecodeLimits()
    image_format = sniff_format(data)
    if image_format == "DICOM":
        return decode_dicom(data, limits)
    return _decode_raster(data, image_format, limits)


def sniff_format(data: bytes) -> str:
    """Name the format of an image from its first bytes.

    Returns:
        One of "PNG", "JPEG", "WEBP", "TIFF", "BMP", "DICOM".

    Raises:
        EmptyBody: No bytes.
        UnsupportedFormat: Another type.
    """
    if not data:
        raise EmptyBody(f"Received 0 bytes. Send one image; accepted are {ACCEPTED_FORMATS}.")
    if image_format := _match(data, _SIGNATURES):
        return image_format
    received = _match(data, _REFUSED_SIGNATURES) or f"{len(data)} bytes of a type that is not recognised"
    raise UnsupportedFormat(f"Received {received}. Accepted are {ACCEPTED_FORMATS}, told by content, not by name.")


def _match(data: bytes, signatures: tuple[tuple[bytes, str], ...]) -> str | None:
    return next((name for pattern, name in signatures if re.match(pattern, data, re.DOTALL)), None)


def _decode_raster(data: bytes, image_format: str, limits: DecodeLimits) -> GreyImage:
    try:
        if check := _STRUCTURE_CHECKS.get(image_format):
            check(data)
        if image_format == "WEBP":
            check_pixel_count(*_webp_size(data), limits)
        with Image.open(BoundedStream(data), formats=[image_format]) as image:
            _check_size(image, limits)
            _refuse_several_frames(image)
            bits = _bits_per_sample(image, data)
            _refuse_deep_colour(image, bits)
            if check_data := _DATA_CHECKS.get(image_format):
                check_data(data)
            image.load()
            pixels = _apply_orientation(_to_grey(image), _orientation(image))
            coloured = 0.0 if image.mode in _GREY_MODES else coloured_share(image)
    except CxrError:
        raise
    except Exception as error:
        # Pillow's plugins raise whatever their parsers meet (OSError, SyntaxError, struct.error, ...).
        # All of it means the same to a caller: these bytes do not decode.
        raise CorruptImage(
            f"The content begins as {image_format} and cannot be decoded ({_reason(error)}). "
            "Check that the file is complete and opens in an image viewer, then send it again."
        ) from error
    height, width = pixels.shape
    notes = resolution_warnings(width, height)
    return GreyImage(np.ascontiguousarray(pixels), image_format, bits, coloured=coloured, warnings=notes)


def _reason(error: Exception) -> str:
    """Say why in words of our own: Pillow's can quote the content."""
    if isinstance(error, UnidentifiedImageError):
        return "its header is damaged or describes a rare variant"
    return "it is truncated" if "truncated" in str(error).lower() else "it is damaged"


def _check_size(image: Image.Image, limits: DecodeLimits) -> None:
    check_pixel_count(*image.size, limits)
    if image.format == "TIFF":
        # A tile may be larger than its image, and memory is taken for all of it.
        tags = image.tag_v2  # type: ignore[attr-defined]
        check_pixel_count(tags.get(_TIFF_TILE_WIDTH, 1), tags.get(_TIFF_TILE_LENGTH, 1), limits)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read the width and height that a WebP declares: libwebp takes memory for them as soon as Pillow opens it.

    Source: WebP Container Specification (VP8X), WebP Lossless Bitstream Specification, 3 (VP8L), RFC 6386, 9.1 (VP8).
    """
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise OSError("its header is cut off")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(body[1:5], "little")
        return 1 + packed % 2**14, 1 + (packed >> 14) % 2**14
    return int.from_bytes(body[6:8], "little") % 2**14, int.from_bytes(body[8:10], "little") % 2**14


def _refuse_several_frames(image: Image.Image) -> None:
    # MPO is what cameras write: a JPEG whose first picture is the photograph, others are previews of it.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise MultipleFrames(f"The {image.format} holds several frames. Send one image with a single frame.")


def _bits_per_sample(image: Image.Image, data: bytes) -> int:
    """Read the bits a sample as stored."""
    if image.format == "PNG":
        return 8 if image.mode == "P" else data[24]  # IHDR bit depth. Source: PNG specification, 11.2.2.
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,))))  # type: ignore[attr-defined]
    return 1 if image.mode == "1" else 8


def _refuse_deep_colour(image: Image.Image, bits: int) -> None:
    """Refuse colour or transparency of more than 8 bits: Pillow would keep only each sample's high byte."""
    grey = image.mode in _DEEP_MODES and "transparency" not in image.info
    if bits > 8 and not grey:
        raise UnsupportedPixels(
            f"The {image.format} holds colour or transparency of {bits} bits a sample. "
            "Send grey of up to 32 bits without transparency, or colour of 8 bits."
        )


def _to_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Reduce a loaded image to grey levels, uint8, shape (H, W)."""
    if image.mode in _DEEP_MODES:
        return _scale_deep(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        on_black = ImageChops.multiply(rgba.convert("L"), rgba.getchannel("A"))
        return np.asarray(on_black)
    if image.mode in ("CMYK", "YCbCr"):
        image = image.convert("RGB")
    if image.mode not in ("1", "L", "P", "RGB"):
        raise UnsupportedPixels(
            f"The {image.format} holds colour of the kind {image.mode}. Send grey, RGB, a palette, CMYK or YCbCr."
        )
    return np.asarray(image.convert("L"))


def _scale_deep(image: Image.Image) -> NDArray[np.uint8]:
    samples = np.asarray(image)
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise UnsupportedPixels("The image holds samples that are not finite numbers. Send finite grey levels.")
    grey = scale_to_uint8(samples)
    # Pillow inverts white-is-zero up to 8 bits, but not deeper.
    if image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO:  # type: ignore[attr-defined]
        grey = 255 - grey
    return grey


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, once an image is loaded: Pillow has then applied a TIFF's own and forgotten it."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Whatever damaged EXIF raises, the pixels are whole.
        return 1


def _apply_orientation(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn an image upright. Source: EXIF 2.32, 4.6.4, tag Orientation; values not defined there mean upright."""
    match orientation:
        case 2:
            return np.fliplr(pixels)
        case 3:
            return np.rot90(pixels, 2)
        case 4:
            return np.flipud(pixels)
        case 5:
            return pixels.T
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return np.rot90(pixels, 2).T
        case 8:
            return np.rot90(pixels)
        case _:
            return pixels
