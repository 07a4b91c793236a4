"""Valid DICOM radiographs, small: every transfer syntax, and what the grey levels can depend on."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
import pydicom.data
from pydicom.encaps import encapsulate, encapsulate_extended, get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from app.imaging.codecs import NATIVE_SYNTAXES, SUPPORTED_SYNTAXES
from tests.images import dicom, lookup_table, radiograph

GREY: Final = radiograph(96, 80)
TWELVE: Final = GREY.astype(np.uint16) * 16
COLOUR: Final = np.dstack([GREY, 255 - GREY, GREY // 2])

_PREAMBLE_BYTES: Final = 132
_LARGEST_SAMPLE: Final = 2**17
"""Bytes of a pydicom file that is still a seed; larger ones would only make mutants slower."""


def dicom_files() -> dict[str, bytes]:
    """Make one file of every variant, by name; the name begins with the format."""
    files: dict[str, bytes] = {}
    for variants in (_syntaxes(), _presentations(), _kinds_of_pixels(), _layouts()):
        files.update(variants)
    return {f"DICOM {name}": data for name, data in files.items()}


def sample_files() -> dict[str, bytes]:
    """Read the small ones of the files that pydicom installs: other programs' work."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    files = ((path.name, path.read_bytes()) for path in sorted(folder.glob("*.dcm")))
    return {f"pydicom {name}": data for name, data in files if len(data) <= _LARGEST_SAMPLE}


def _syntaxes() -> Iterator[tuple[str, bytes]]:
    for syntax in sorted(SUPPORTED_SYNTAXES):
        eight_bits_only = syntax == JPEGBaseline8Bit
        for bits in (8,) if eight_bits_only else (8, 12):
            pixels = GREY if bits == 8 else TWELVE
            yield f"{syntax.name} {bits}", dicom(pixels, transfer_syntax=syntax, bits_stored=bits)
        if syntax in NATIVE_SYNTAXES or syntax in (RLELossless, JPEGLosslessSV1, JPEG2000Lossless):
            rgb = dicom(COLOUR, transfer_syntax=syntax, photometric_interpretation="RGB")
            yield f"{syntax.name} RGB", rgb


def _presentations() -> Iterator[tuple[str, bytes]]:
    levels = np.linspace(0, 4095, 4096)
    curve = lookup_table((levels**2 / 4095).astype(np.uint16), 0, 12)
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    yield "window", dicom(TWELVE, bits_stored=12, **window)
    for function in ("LINEAR_EXACT", "SIGMOID"):
        yield f"window {function}", dicom(TWELVE, bits_stored=12, VOILUTFunction=function, **window)
    yield "windows", dicom(TWELVE, bits_stored=12, WindowCenter=[0, 2000], WindowWidth=[0, 3000])
    yield "rescaled", dicom(TWELVE, bits_stored=12, RescaleSlope="0.5", RescaleIntercept="-1024", **window)
    yield "modality table", dicom(TWELVE, bits_stored=12, ModalityLUTSequence=[curve])
    yield "VOI table", dicom(TWELVE, bits_stored=12, VOILUTSequence=[curve])
    bytes_table = lookup_table((levels // 16).astype(np.uint8), 0, 8)
    yield "table of bytes", dicom(TWELVE, bits_stored=12, VOILUTSequence=[bytes_table])
    yield "padding", dicom(TWELVE, bits_stored=12, PixelPaddingValue=0, PixelPaddingRangeLimit=160)
    yield "MONOCHROME1", dicom(TWELVE, bits_stored=12, photometric_interpretation="MONOCHROME1", **window)
    yield "warnings", dicom(GREY, BurnedInAnnotation="YES", PresentationIntentType="FOR PROCESSING", modality=None)


def _kinds_of_pixels() -> Iterator[tuple[str, bytes]]:
    yield "signed", dicom(TWELVE.astype(np.int16) - 1024, bits_stored=13)
    yield "32 bits", dicom(GREY.astype(np.uint32) * 99_999)
    yield "high bit 15", dicom(TWELVE * 16, bits_stored=12, HighBit=15)
    palette = {}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = (np.arange(256, dtype="<u2") * 257).tobytes()
    yield "palette", dicom(GREY, photometric_interpretation="PALETTE COLOR", **palette)
    planes = np.ascontiguousarray(np.moveaxis(COLOUR, 2, 0)).reshape(COLOUR.shape)
    yield "planes", dicom(planes, photometric_interpretation="RGB", PlanarConfiguration=1)
    yield "YBR_FULL", dicom(COLOUR, photometric_interpretation="YBR_FULL")
    halved = np.dstack([GREY[:, ::2], GREY[:, 1::2], GREY[:, ::2], GREY[:, ::2]]).tobytes()
    yield "YBR_FULL_422", dicom(COLOUR, photometric_interpretation="YBR_FULL_422", PixelData=halved)
    yield "frames", dicom(np.stack([GREY, GREY]), frames=2)


def _layouts() -> Iterator[tuple[str, bytes]]:
    """Files without their usual beginning, and other ways to encapsulate."""
    explicit = dicom(TWELVE, bits_stored=12, WindowCenter=2000, WindowWidth=3000)
    yield "without preamble", explicit[_PREAMBLE_BYTES - 4 :]
    yield "without magic", explicit[_PREAMBLE_BYTES:]
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        yield f"data set alone, {syntax.name}", _data_set(dicom(TWELVE, transfer_syntax=syntax, bits_stored=12))
    table = lookup_table(np.arange(4096), 0, 12)
    yield (
        "deflated table",
        dicom(TWELVE, transfer_syntax=DeflatedExplicitVRLittleEndian, bits_stored=12, VOILUTSequence=[table]),
    )
    frame = get_frame(pydicom.dcmread(io.BytesIO(dicom(GREY, transfer_syntax=JPEG2000Lossless))).PixelData, 0)
    yield (
        "fragments",
        dicom(GREY, transfer_syntax=JPEG2000Lossless, PixelData=encapsulate([frame], fragments_per_frame=4)),
    )
    data, offsets, lengths = encapsulate_extended([frame])
    extended = {"PixelData": data, "ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
    yield "extended offset table", dicom(GREY, transfer_syntax=JPEG2000Lossless, **extended)
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(4) + b"jp2c"
    yield "JP2 boxes", dicom(GREY, transfer_syntax=JPEG2000Lossless, PixelData=encapsulate([boxes + frame]))


def _data_set(data: bytes) -> bytes:
    """Cut off preamble and file meta information, whose group length is its first element."""
    length = int.from_bytes(data[_PREAMBLE_BYTES + 8 : _PREAMBLE_BYTES + 12], "little")
    return data[_PREAMBLE_BYTES + 12 + length :]
