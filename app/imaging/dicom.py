"""DICOM radiographs to grey images.

pydicom parses, ``app.imaging.codecs`` decodes compressed pixels, ``app.imaging.presentation`` makes grey
levels of stored values. Only the attributes that this needs are read: the patient's are skipped unseen.
"""

import logging
import re
import warnings
import zlib
from io import BytesIO
from typing import Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from app.errors import (
    BodyTooLarge,
    CorruptImage,
    CxrError,
    MultipleFrames,
    NoPixelData,
    UnsupportedModality,
    UnsupportedPixels,
    UnsupportedTransferSyntax,
)
from app.imaging.codecs import NATIVE_SYNTAXES, SUPPORTED_SYNTAXES, ImagePixels, decode_frame, gives_rgb
from app.imaging.grey import (
    DecodeLimits,
    GreyImage,
    ImageWarning,
    check_pixel_count,
    resolution_warnings,
    scale_to_uint8,
)
from app.imaging.presentation import to_grey_levels

# pydicom quotes the values it finds odd in warnings and log records. A service shows them to nobody.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")

_FILE_META_START: Final = 132  # after the preamble and "DICM". Source: PS3.10, 7.1.
_PIXEL_DATA: Final = 0x7FE00010
_MAX_READS: Final = 50_000  # Two or three an element, one for each 8 KiB of compressed pixels; a DX has hundreds.
_MAX_VALUE_BYTES: Final = 2**20  # The longest are sequences of lookup tables, of up to 128 KiB each.
_ATTRIBUTES: Final = (
    "Modality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "PixelData",
)
_TAGS: Final[list[BaseTag | int]] = [tag for keyword in _ATTRIBUTES if (tag := tag_for_keyword(keyword)) is not None]

_MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")
_YBR: Final = ("YBR_FULL", "YBR_FULL_422")
_COLOUR: Final = ("RGB", "YBR_ICT", "YBR_RCT", *_YBR)


def decode_dicom(data: bytes, limits: DecodeLimits) -> GreyImage:
    """Decode a single-frame DICOM radiograph.

    Args:
        data: A DICOM file with preamble and file meta information (PS3.10, 7.1).
        limits: Bounds on pixels and inflated bytes, and the modalities to accept.

    Returns:
        Grey levels as a viewer would first show them, white for dense tissue.

    Raises:
        TooLarge: More pixels, or more bytes after inflation, than the limits.
        UnsupportedTransferSyntax: No decoder here reads the stored pixels.
        UnusableImage: Damaged, several frames, no pixel data, or another modality.
    """
    try:
        dataset, syntax = _read(data, limits)
        notes = _check_object(dataset, limits)
        pixels = _describe_pixels(dataset, limits)
        grey = _to_grey(_stored_values(dataset, syntax, pixels), dataset, syntax, pixels)
    except CxrError:
        raise
    except Exception as error:
        # pydicom and the codecs raise whatever they meet in damaged data. Their messages can quote
        # header values, so they are not passed on.
        raise CorruptImage(
            f"The DICOM file cannot be decoded ({type(error).__name__}): a header or the pixel data are damaged, "
            "truncated or contradict each other. Export the object again."
        ) from error
    return GreyImage(
        grey,
        "DICOM",
        bits=pixels.bits_stored,
        photometric_interpretation=pixels.photometric_interpretation,
        warnings=(*notes, *resolution_warnings(pixels.columns, pixels.rows)),
    )


class _BoundedStream(BytesIO):
    """A file that gives up when it is read in too many parts: pydicom takes minutes over 50 MB of empty items."""

    reads_left = _MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ValueError("the file has too many elements")
        return super().read(size)


def _read(data: bytes, limits: DecodeLimits) -> tuple[Dataset, UID]:
    """Parse a file as far as the pixel data.

    ``pydicom.dcmread`` would inflate without a limit, and keep every attribute.
    """
    stream = _BoundedStream(data)
    stream.seek(_FILE_META_START)
    file_meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    syntax = UID(str(file_meta.get("TransferSyntaxUID", "")))
    _check_syntax(syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = _BoundedStream(_inflate(data[stream.tell() :], limits.max_bytes))
    dataset = read_dataset(
        stream,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, *_: tag > _PIXEL_DATA,
        specific_tags=_TAGS,
    )
    for element in dataset.elements():  # as bytes, not parsed yet
        if element.tag != _PIXEL_DATA and isinstance(element.value, bytes) and len(element.value) > _MAX_VALUE_BYTES:
            raise ValueError("an attribute is too long to be what it should be")
    return dataset, syntax


def _check_syntax(syntax: UID) -> None:
    if not syntax:
        raise CorruptImage("The DICOM file names no transfer syntax (0002,0010). Export the object again.")
    if syntax not in SUPPORTED_SYNTAXES:
        name = f"{syntax.name} ({syntax})" if syntax.is_transfer_syntax else _quote(syntax, r"[0-9.]{1,64}")
        raise UnsupportedTransferSyntax(
            f"The DICOM pixel data are stored as {name}, which is not read here. "
            "Send them uncompressed, RLE, JPEG, JPEG Lossless, JPEG-LS or JPEG 2000."
        )


def _inflate(deflated: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # a bare deflate stream. Source: PS3.5, A.5.
    inflated = inflater.decompress(deflated, max_bytes)
    if inflater.unconsumed_tail:
        raise BodyTooLarge(
            f"The deflated DICOM file inflates to more than {max_bytes} bytes, the most that is accepted."
        )
    return inflated


def _check_object(dataset: Dataset, limits: DecodeLimits) -> tuple[ImageWarning, ...]:
    notes = _check_modality(dataset, limits)
    if not dataset.get("PixelData"):
        raise NoPixelData(
            "The DICOM file holds no pixel data (7FE0,0010), or ends before them. Send a complete image object."
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise MultipleFrames(f"The DICOM object holds {frames} frames. Send one single-frame image.")
    return notes


def _check_modality(dataset: Dataset, limits: DecodeLimits) -> tuple[ImageWarning, ...]:
    modality = str(dataset.get("Modality") or "")
    accepted = ", ".join(limits.modalities)
    if not modality:
        message = f"The DICOM object names no modality (0008,0060); it was taken for a radiograph ({accepted})."
        return (ImageWarning("modality_missing", message),)
    if modality not in limits.modalities:
        received = _quote(modality, r"[A-Z]{2,8}")
        raise UnsupportedModality(f"The DICOM object is of modality {received}. Accepted are radiographs: {accepted}.")
    return ()


def _describe_pixels(dataset: Dataset, limits: DecodeLimits) -> ImagePixels:
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    check_pixel_count(columns, rows, limits)
    pixels = ImagePixels(
        rows,
        columns,
        samples=_integer(dataset, "SamplesPerPixel"),
        bits_allocated=_integer(dataset, "BitsAllocated"),
        bits_stored=_integer(dataset, "BitsStored"),
        signed=_integer(dataset, "PixelRepresentation") == 1,
        photometric_interpretation=str(dataset.get("PhotometricInterpretation") or ""),
    )
    if not 1 <= pixels.bits_stored <= pixels.bits_allocated:
        raise CorruptImage(
            f"The DICOM header says that {pixels.bits_stored} of {pixels.bits_allocated} bits a sample are used "
            "(0028,0101 and 0028,0100). Export the object again."
        )
    _check_supported(dataset, pixels)
    return pixels


def _check_supported(dataset: Dataset, pixels: ImagePixels) -> None:
    interpretation, samples = pixels.photometric_interpretation, pixels.samples
    grey = interpretation in _MONOCHROME and samples == 1 and pixels.bits_allocated <= 32
    palette = interpretation == "PALETTE COLOR" and samples == 1 and pixels.bits_allocated <= 16
    colour = interpretation in _COLOUR and samples == 3 and pixels.bits_allocated == 8
    if not (grey or palette or colour):
        raise UnsupportedPixels(
            f"The DICOM pixels are {_quote(interpretation, r'[A-Z0-9_]{2,16}')} with {samples} samples a pixel "
            f"of {pixels.bits_allocated} bits. Accepted are MONOCHROME1, MONOCHROME2 and PALETTE COLOR, "
            "and RGB or YBR of 8 bits."
        )
    if int(dataset.get("HighBit") or 0) not in (0, pixels.bits_stored - 1):
        raise UnsupportedPixels(
            "The DICOM pixels are not in the lowest bits of their samples: High Bit (0028,0102) must be one less "
            "than Bits Stored (0028,0101). Export the object again."
        )


def _integer(dataset: Dataset, keyword: str) -> int:
    try:
        return int(dataset[keyword].value)
    except Exception as error:
        raise CorruptImage(f"The DICOM attribute {keyword} is missing or is not a whole number.") from error


def _quote(value: str, pattern: str) -> str:
    """Quote a header value only if it has the form that it should have: anything can stand in a damaged header."""
    return repr(str(value)) if re.fullmatch(pattern, value) else "(unreadable)"


def _stored_values(dataset: Dataset, syntax: UID, pixels: ImagePixels) -> NDArray[np.integer]:
    if syntax not in NATIVE_SYNTAXES:
        return decode_frame(get_frame(dataset.PixelData, 0, number_of_frames=1), syntax, pixels)
    frame_bytes = pixels.rows * pixels.columns * pixels.samples * pixels.bits_allocated // 8
    if len(dataset.PixelData) >= 2 * frame_bytes + 2:
        raise CorruptImage(
            "The DICOM pixel data are at least twice as long as the header says. Export the object again."
        )
    return get_decoder(syntax).as_array(dataset, index=0, raw=True)[0]


def _to_grey(stored: NDArray[np.integer], dataset: Dataset, syntax: UID, pixels: ImagePixels) -> NDArray[np.uint8]:
    if pixels.photometric_interpretation in _MONOCHROME:
        return to_grey_levels(stored, dataset, pixels)
    if pixels.photometric_interpretation == "PALETTE COLOR":
        rgb = apply_color_lut(stored, dataset)
        return _luminance(rgb if rgb.dtype == np.uint8 else scale_to_uint8(rgb))
    if pixels.photometric_interpretation in _YBR and not gives_rgb(syntax):
        return np.ascontiguousarray(stored[..., 0])  # Y is the luminance.
    return _luminance(stored.astype(np.uint8, copy=False))


def _luminance(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce RGB to luma as Pillow does for the other formats (ITU-R 601)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))
