"""What a DICOM header says of its image: whether it is one that can be used, and how its pixels are stored."""

import re
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from app.errors import (
    CorruptImage,
    MultipleFrames,
    NoPixelData,
    UnsupportedModality,
    UnsupportedPixels,
    UnsupportedView,
)
from app.imaging.codecs import ImagePixels
from app.imaging.dicom_file import quote
from app.imaging.grey import DecodeLimits, ImageWarning, check_pixel_count

MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")
PALETTE: Final = "PALETTE COLOR"
YBR: Final = ("YBR_FULL", "YBR_FULL_422")
_COLOUR: Final = ("RGB", "YBR_ICT", "YBR_RCT", *YBR)
_OTHER_INTERPRETATIONS: Final = frozenset(
    (*MONOCHROME, PALETTE, *_COLOUR, "HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB")
)
"""Photometric interpretations that DICOM defines, or did. Source: PS3.3 C.7.6.3.1.2."""

_MODALITY_TERMS: Final = """
ANN AR AS ASMT AU BDUS BI BMD CD CF CFM CP CR CS CT CTPROTOCOL DD DF DG DM DMS DOC DS DX EC ECG EEG EMG EOG
EPS ES FA FID FS GM HC HD IO IOL IVOCT IVUS KER KO LEN LP LS M3D MA MG MR MS NM OAM OCT OP OPM OPR OPT OPTBSV
OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN
RTSTRUCT RWV SC SEG SM SMR SR SRF ST STAIN TEXTUREMAP TG US VA VF XA XAPROTOCOL XC
"""
_MODALITIES: Final = frozenset(_MODALITY_TERMS.split())
"""Modalities that DICOM defines, or did. Source: PS3.3 C.7.3.1.1.1."""

_LATERAL_VIEW: Final = re.compile(r"[LR]L|[LR]LO|(L|R|LEFT|RIGHT)?[ _-]*(LAT|LATERAL)")
"""Lateral and lateral oblique View Positions. Source: PS3.3 C.8.1.1 (CR) and C.8.11.5 (DX) for LL, RL, RLO and LLO;
the words are what writers put in their place. Decubitus (RLD, LLD) is a posture, its projection is frontal."""

_LATERAL_VIEW_CODES: Final = frozenset(
    {"399067008", "399173006", "399198007", "260427002", "R-102CD", "R-10236", "R-10232", "R-40783"}
)
"""Lateral, left lateral, right lateral, lateral oblique, in SNOMED CT and its older identifiers. Source: PS3.16, CID
4010, and annex O for the older ones."""


def check_object(dataset: Dataset, limits: DecodeLimits) -> tuple[ImageWarning, ...]:
    """Refuse an object that is not one frame of a frontal radiograph.

    Args:
        dataset: The header.
        limits: The modalities to accept.

    Returns:
        What the sender of an accepted object should know.

    Raises:
        UnsupportedModality: It says that it is of another modality.
        UnsupportedView: It says that it is a lateral view.
        NoPixelData: No image is in it.
        MultipleFrames: More than one is.
    """
    notes = _check_modality(dataset, limits)
    _check_view(dataset)
    if not dataset.get("PixelData"):
        raise NoPixelData(
            "The DICOM file holds no pixel data (7FE0,0010), or ends before them. Send a complete image object."
        )
    frames = _number_of_frames(dataset)
    if frames > 1:
        raise MultipleFrames(
            "The DICOM object holds several frames, by its Number of Frames (0028,0008). Send one single-frame image."
        )
    return (*notes, *_warnings(dataset))


def describe_pixels(dataset: Dataset, limits: DecodeLimits) -> ImagePixels:
    """Read how the pixels are stored.

    Raises:
        TooManyPixels: More than the limit.
        CorruptImage: A required attribute is missing or absurd.
        UnsupportedPixels: A kind of pixel that is not read.
    """
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    check_pixel_count(columns, rows, limits)
    bits_stored = _integer(dataset, "BitsStored")
    pixels = ImagePixels(
        rows,
        columns,
        samples=_integer(dataset, "SamplesPerPixel"),
        bits_allocated=_integer(dataset, "BitsAllocated"),
        bits_stored=bits_stored,
        high_bit=_integer(dataset, "HighBit") if dataset.get("HighBit") else bits_stored - 1,
        signed=_integer(dataset, "PixelRepresentation") == 1,
        photometric_interpretation=str(dataset.get("PhotometricInterpretation") or ""),
    )
    if not 1 <= pixels.bits_stored <= pixels.high_bit + 1 <= pixels.bits_allocated:
        raise CorruptImage(
            f"The DICOM header says that {pixels.bits_stored} of {pixels.bits_allocated} bits a sample are used, the "
            f"highest of them bit {pixels.high_bit} (0028,0100 to 0028,0102). Export the object again."
        )
    _check_supported(pixels)
    return pixels


def _check_modality(dataset: Dataset, limits: DecodeLimits) -> tuple[ImageWarning, ...]:
    modality = str(dataset.get("Modality") or "")
    accepted = ", ".join(limits.modalities)
    if not modality:
        message = f"The DICOM object names no modality (0008,0060); it was taken for a radiograph ({accepted})."
        return (ImageWarning("modality_missing", message),)
    if modality not in limits.modalities:
        received = quote(modality, _MODALITIES)
        raise UnsupportedModality(f"The DICOM object is of modality {received}. Accepted are radiographs: {accepted}.")
    return ()


def _check_view(dataset: Dataset) -> None:
    view = str(dataset.get("ViewPosition") or "").strip().upper()
    views = dataset.get("ViewCodeSequence")
    codes = {str(item.get("CodeValue") or "") for item in views} if isinstance(views, Sequence) else set()
    if _LATERAL_VIEW.fullmatch(view):
        received = f"View Position (0018,5101) {view!r}"
    elif lateral := sorted(codes & _LATERAL_VIEW_CODES):
        received = f"View Code Sequence (0054,0220) {lateral[0]!r}"
    else:
        return
    raise UnsupportedView(
        f"The DICOM object is a lateral view, by its {received}. The model knows frontal ones: send the AP or PA view."
    )


def _number_of_frames(dataset: Dataset) -> int:
    try:
        return int(dataset.get("NumberOfFrames") or 1)
    except (TypeError, ValueError) as error:
        raise CorruptImage("The DICOM attribute NumberOfFrames is not a whole number.") from error


def _warnings(dataset: Dataset) -> tuple[ImageWarning, ...]:
    notes = []
    if _code(dataset, "BurnedInAnnotation") == "YES":
        message = (
            "The DICOM object says that text is burned into its pixels (0028,0301). It can name the patient, "
            "and it changes what the model sees."
        )
        notes.append(ImageWarning("burned_in_annotation", message))
    if _code(dataset, "PresentationIntentType") == "FOR PROCESSING":
        message = (
            "The DICOM object holds raw detector data FOR PROCESSING (0008,0068), not an image as it is shown: grey "
            "levels can be inverted or logarithmic. Send the object FOR PRESENTATION of the same exposure."
        )
        notes.append(ImageWarning("for_processing", message))
    return tuple(notes)


def _code(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()


def _check_supported(pixels: ImagePixels) -> None:
    interpretation, samples = pixels.photometric_interpretation, pixels.samples
    grey = interpretation in MONOCHROME and samples == 1 and pixels.bits_allocated <= 32
    palette = interpretation == PALETTE and samples == 1 and pixels.bits_allocated <= 16
    colour = interpretation in _COLOUR and samples == 3 and pixels.bits_allocated == 8
    if not (grey or palette or colour):
        raise UnsupportedPixels(
            f"The DICOM pixels are {quote(interpretation, _OTHER_INTERPRETATIONS)} with {samples} samples a pixel "
            f"of {pixels.bits_allocated} bits. Accepted are MONOCHROME1, MONOCHROME2 and PALETTE COLOR, "
            "and RGB or YBR of 8 bits."
        )


def _integer(dataset: Dataset, keyword: str) -> int:
    """Read a number of 16 bits, as which all of the Image Pixel module are stored (PS3.3 C.7.6.3)."""
    try:
        value = int(dataset[keyword].value)
    except Exception as error:
        raise CorruptImage(f"The DICOM attribute {keyword} is missing or is not a whole number.") from error
    if not 0 <= value < 2**16:
        raise CorruptImage(f"The DICOM attribute {keyword} is not a number of 16 bits.")
    return value
