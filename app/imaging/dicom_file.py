"""The bytes of a DICOM file to its header: preamble, file meta information, transfer syntax, data set.

pydicom parses. Only the attributes that an image needs are read: the patient's are skipped unseen.
"""

import logging
import re
import warnings
import zlib
from collections.abc import Container
from io import BytesIO
from typing import Final

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.errors import BodyTooLarge, CorruptImage, UnsupportedTransferSyntax
from app.imaging.codecs import NATIVE_SYNTAXES, SUPPORTED_SYNTAXES
from app.imaging.grey import DecodeLimits, ImageWarning
from app.imaging.structure import BoundedStream

# pydicom quotes the values it finds odd in warnings and log records. A service shows them to nobody.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")

_PREAMBLE_BYTES: Final = 128  # then "DICM". Source: PS3.10, 7.1.
_MAGIC: Final = b"DICM"
_FILE_META: Final = b"\x02\0"  # the group of all its elements, always in little endian
_PIXEL_DATA: Final = 0x7FE00010
_DICOM_UID: Final = re.compile(r"1\.2\.840\.10008(\.\d{1,4}){1,7}")  # DICOM's own. Source: PS3.5, 9 and annex A.
_MAX_READS: Final = 50_000
"""Two or three an element, one for each 8 KiB of compressed pixels; a DX has hundreds. pydicom takes minutes over
50 MB of empty items."""
_MAX_VALUE_BYTES: Final = 2**12  # Some hundred numbers as text. pydicom takes seconds over a megabyte of them.
_MAX_TABLE_BYTES: Final = 2**20  # The longest are sequences of lookup tables, of up to 128 KiB each.
_ATTRIBUTES: Final = (
    "Modality",
    "PresentationIntentType",
    "ViewPosition",
    "ViewCodeSequence",
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
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "BurnedInAnnotation",
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
_ITEM: Final = re.compile(rb"\xfe\xff\x00\xe0|\xff\xfe\xe0\x00")
_MAX_ITEMS: Final = 1000  # Of a sequence, of which one is used. pydicom takes seconds over a megabyte of empty ones.
_TABLES: Final = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "ViewCodeSequence",
        "ModalityLUTSequence",
        "VOILUTSequence",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
    )
)
_TAGS: Final[list[BaseTag | int]] = [tag for keyword in _ATTRIBUTES if (tag := tag_for_keyword(keyword)) is not None]


def read_file(data: bytes, limits: DecodeLimits) -> tuple[Dataset, UID, tuple[ImageWarning, ...]]:
    """Parse a file as far as the pixel data.

    ``pydicom.dcmread`` would inflate without a limit, and keep every attribute.

    Args:
        data: A DICOM file (PS3.10, 7.1). The preamble may be missing, and the file meta information too: the
            data set is then taken for an uncompressed one of the syntax that its first element shows.
        limits: Bounds the bytes after inflation.

    Returns:
        The attributes that an image needs, those of them that are there; the transfer syntax, one of
        ``SUPPORTED_SYNTAXES``; and what the sender should know.

    Raises:
        BodyTooLarge: More bytes after inflation than the limit.
        CorruptImage: No transfer syntax is named, and the pixel data are compressed.
        UnsupportedTransferSyntax: A transfer syntax that is not read.
        Exception: Of a kind that depends on what is damaged.
    """
    stream = BoundedStream(data, _MAX_READS)
    named = _read_transfer_syntax(data, stream)
    syntax = named or _guess_syntax(data[stream.tell() :][:6])
    _check_syntax(syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = BoundedStream(_inflate(data[stream.tell() :], limits.max_bytes), _MAX_READS)
    dataset = read_dataset(
        stream,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, *_: tag > _PIXEL_DATA,
        specific_tags=_TAGS,
    )
    _check_lengths(dataset)
    _check_encapsulation(dataset, syntax, named)
    return dataset, syntax, () if named else (_missing_syntax_warning(syntax),)


def quote(value: str, terms: Container[str]) -> str:
    """Quote a header value only if it is a term of the standard's: anything can stand there, a patient's name too."""
    return repr(str(value)) if value in terms else "(unknown)"


def _read_transfer_syntax(data: bytes, stream: BytesIO) -> UID | None:
    """Read the file meta information, if there is any, and leave the stream at the data set after it."""
    start = next((at + len(_MAGIC) for at in (_PREAMBLE_BYTES, 0) if data.startswith(_MAGIC, at)), 0)
    stream.seek(start)
    if not data.startswith(_FILE_META, start):
        return None
    file_meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    return UID(str(file_meta.get("TransferSyntaxUID") or "")) or None


def _guess_syntax(first_element: bytes) -> UID:
    """Tell an uncompressed syntax by the first six bytes of a data set: a low group number, then the VR if explicit."""
    if first_element[:1] == b"\0":
        return ExplicitVRBigEndian
    return ExplicitVRLittleEndian if re.fullmatch(rb"[A-Z]{2}", first_element[4:]) else ImplicitVRLittleEndian


def _missing_syntax_warning(syntax: UID) -> ImageWarning:
    return ImageWarning(
        "transfer_syntax_missing",
        f"The DICOM file names no transfer syntax (0002,0010); its data look like {syntax.name} and were read as such.",
    )


def _check_syntax(syntax: UID) -> None:
    if syntax not in SUPPORTED_SYNTAXES:
        # Outside of DICOM's own, numbers can be a patient's, or name an examination.
        other = repr(str(syntax)) if _DICOM_UID.fullmatch(syntax) else "a transfer syntax that DICOM does not define"
        name = f"{syntax.name} ({syntax})" if syntax.is_transfer_syntax else other
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


def _check_lengths(dataset: Dataset) -> None:
    for element in dataset.elements():  # as bytes, not parsed yet
        if element.tag == _PIXEL_DATA or not isinstance(element.value, bytes):
            continue
        longest = _MAX_TABLE_BYTES if element.tag in _TABLES else _MAX_VALUE_BYTES
        if len(element.value) > longest or len(_ITEM.findall(element.value)) > _MAX_ITEMS:
            raise ValueError("an attribute is too long to be what it should be")


def _check_encapsulation(dataset: Dataset, syntax: UID, named: UID | None) -> None:
    """Refuse compressed pixel data under an uncompressed syntax: no one says which codec reads them."""
    if syntax not in NATIVE_SYNTAXES or _PIXEL_DATA not in dataset or not dataset["PixelData"].is_undefined_length:
        return
    claim = "says that they are not" if named else "names no transfer syntax (0002,0010)"
    raise CorruptImage(f"The DICOM pixel data are compressed, and the file {claim}. Export the object again.")
