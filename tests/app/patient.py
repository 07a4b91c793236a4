"""Uploads full of what identifies a made-up patient, wherever a format has room for it."""

import io
import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pydicom
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests.images import dicom, encode, lookup_table, radiograph

GREY: Final = radiograph()
NAME: Final = "Zzyzx^Quentin"
WORDS: Final = "Zzyzx Quentin MRNQX-7, St. Mrsquib"
BIRTH: Final = "19531127"
FILE_NAME: Final = "Zzyzx_Quentin_ID-MRNQX_19531127.dcm"

_FOREIGN: Final = {
    "ISO_IR 192": ("홍길동^Żółćęą", "utf-8"),
    "\\ISO 2022 IR 149": ("홍길동", "euc_kr"),
    "GB18030": ("诸葛亮", "gb18030"),
    "ISO_IR 100": ("Ünsöld", "latin-1"),
    "ISO_IR 144": ("Щукин", "iso8859_5"),
}
"""Names by the DICOM character set that they are written in, and Python's name of it."""

_IDENTIFIERS: Final = ("zzyzx", "quentin", "mrnqx", "mrsquib", BIRTH)


def _forms() -> Iterator[tuple[str, bytes]]:
    """List how an identifier can look in an output, in lower case: encoded, and escaped by JSON or Python."""
    for word in _IDENTIFIERS:
        yield word, word.encode()
    for name, encoding in _FOREIGN.values():
        word = name.split("^")[0]
        for form in (
            word.encode(),
            word.encode(encoding),
            *(repr(word.encode(e)).encode() for e in (encoding, "utf8")),
        ):
            yield word, form.removeprefix(b"b'").removesuffix(b"'").lower()
        yield word, json.dumps(word)[1:-1].lower().encode()


_FORMS: Final = tuple(_forms())


def find_identifiers(output: bytes | str) -> list[str]:
    """The identifiers that an output holds."""
    text = (output.encode() if isinstance(output, str) else output).lower()
    return sorted({word for word, form in _FORMS if form in text})


_BY_VR: Final[dict[str, tuple[str, Any]]] = {
    "AE": ("ScheduledStationAETitle", "ZZYZX"),
    "AS": ("PatientAge", "069Y"),
    "CS": ("SmokingStatus", "QUENTIN"),
    "DA": ("PatientBirthDate", BIRTH),
    "DS": ("PatientWeight", BIRTH),
    "DT": ("AcquisitionDateTime", f"{BIRTH}120000"),
    "FD": ("TableTopLongitudinalAdjustedPosition", float(BIRTH)),
    "IS": ("NumberOfStudyRelatedInstances", BIRTH),
    "LO": ("PatientID", "ID-MRNQX"),
    "LT": ("PatientComments", f"Quentin coughs. {WORDS}"),
    "OB": ("EncapsulatedDocument", WORDS.encode()),
    "OD": ("SelectorODValue", b"Quentin MRNQX-7 "),
    "OF": ("SelectorOFValue", b"Quentin MRNQX-7 "),
    "OL": ("SelectorOLValue", b"Quentin MRNQX-7 "),
    "OV": ("SelectorOVValue", b"Quentin MRNQX-7 "),
    "OW": ("SelectorOWValue", b"Quentin MRNQX-7 "),
    "PN": ("PatientName", NAME),
    "SH": ("AccessionNumber", "ACC-MRNQX"),
    "SL": ("SelectorSLValue", int(BIRTH)),
    "ST": ("InstitutionAddress", "St. Mrsquib, Quentin Road"),
    "SV": ("SelectorSVValue", int(BIRTH)),
    "TM": ("StudyTime", "195311"),
    "UC": ("LongCodeValue", WORDS),
    "UI": ("StudyInstanceUID", f"1.2.826.0.1.{BIRTH}"),
    "UL": ("SelectorULValue", int(BIRTH)),
    "UN": ("SelectorUNValue", WORDS.encode()),
    "UR": ("RetrieveURL", "http://mrsquib.example/zzyzx"),
    "UT": ("SelectorUTValue", WORDS),
    "UV": ("SelectorUVValue", int(BIRTH)),
}
"""An attribute of each VR that can hold text or a number of 8 digits."""


def full(**tags: Any) -> bytes:
    """A DICOM object with identifiers in every VR, in sequences, private elements, file meta and the preamble."""
    table = lookup_table(np.arange(256, dtype=np.uint16), 0, 8)
    table.LUTExplanation = WORDS
    table.ModalityLUTType = "QUENTIN"
    code = Dataset()
    code.CodeValue, code.CodeMeaning, code.CodingSchemeDesignator = "MRNQX", WORDS, "99QUENTIN"
    dataset = pydicom.dcmread(io.BytesIO(dicom(GREY, **dict(_BY_VR.values()))))
    dataset.preamble = WORDS.encode().ljust(128, b"\0")
    meta = dataset.file_meta
    meta.SourceApplicationEntityTitle, meta.ImplementationVersionName = "ZZYZX", "MRNQX"
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = f"1.2.{BIRTH}", WORDS.encode()
    everywhere = {
        "InstitutionName": "St. Mrsquib",
        "ReferringPhysicianName": "Quentin^Dr",
        "OperatorsName": "Quentin^Operator",
        "OtherPatientIDs": "mrnqx-B",
        "BurnedInAnnotation": "YES",
        "PresentationIntentType": "FOR PROCESSING",
        "WindowCenterWidthExplanation": WORDS,
        "DerivationDescription": WORDS,
        "ViewPosition": "QUENTIN",
        "VOILUTSequence": [table],
        "ViewCodeSequence": [code],
        "RequestAttributesSequence": [code],
    }
    private = dataset.private_block(0x0009, "QUENTIN CREATOR", create=True)
    private.add_new(0x01, "LO", WORDS)
    private.add_new(0x02, "UN", WORDS.encode())
    for keyword, value in (everywhere | tags).items():
        setattr(dataset, keyword, value)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def misplaced(keyword: str, value: str) -> bytes:
    """A DICOM object with an identifier, as text, where the decoder reads something else."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(GREY)))
    dataset[Tag(keyword)] = DataElement(keyword, "LO", value)
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def in_character_set(term: str) -> bytes:
    """A DICOM object whose patient has a name in another script."""
    name, _ = _FOREIGN[term]
    return dicom(GREY, SpecificCharacterSet=term.split("\\"), PatientName=name, PatientComments=name.split("^")[0])


def under_syntax(syntax: str) -> bytes:
    """A DICOM object under a transfer syntax of any name."""
    start = (data := full()).index(b"\x02\0\x10\0UI") + 6
    end = start + 2 + int.from_bytes(data[start : start + 2], "little")
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    return data[:start] + len(value).to_bytes(2, "little") + value + data[end:]


def png() -> bytes:
    text = PngInfo()
    text.add_text("Comment", WORDS)
    text.add_itxt("Quentin", WORDS)
    text.add_text("MRNQX", WORDS, zip=True)
    return encode(GREY, "PNG", pnginfo=text, exif=_exif(), dpi=(19531, 127))


def png_with_chunk(kind: bytes, *, crc: int | None = None) -> bytes:
    """A PNG with a chunk of one's own before its pixels."""
    data, content = encode(GREY, "PNG"), WORDS.encode()
    checksum = zlib.crc32(kind + content) if crc is None else crc
    chunk = len(content).to_bytes(4, "big") + kind + content + checksum.to_bytes(4, "big")
    return data[:33] + chunk + data[33:]  # after the signature and IHDR


def jpeg() -> bytes:
    return encode(GREY, "JPEG", exif=_exif(), comment=WORDS.encode(), xmp=WORDS.encode())


def webp() -> bytes:
    return encode(GREY, "WEBP", exif=_exif(), xmp=WORDS.encode())


def tiff() -> bytes:
    return encode(GREY, "TIFF", description=WORDS, artist="St. Mrsquib", software="Quentin")


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = exif[0x8298] = exif[0x013B] = WORDS  # description, copyright, artist
    return exif.tobytes()


_READ: Final = (
    *("Modality", "PresentationIntentType", "ViewPosition", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "BurnedInAnnotation", "RescaleIntercept", "RescaleSlope"),
    *("ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("RedPaletteColorLookupTableDescriptor", "ViewCodeSequence"),
)
"""Attributes that the decoder reads."""

WHOLE: Final = full()

UPLOADS: Final[dict[str, bytes]] = {
    "whole": WHOLE,
    "cut off in the pixels": WHOLE[:-1000],
    "cut off in the header": WHOLE[: WHOLE.index(b"Zzyzx^") + 3],
    "wrong length": full(Rows=999),
    "modality": full(Modality="CT"),
    "name as character set": full(SpecificCharacterSet="ISO_IR 192").replace(b"ISO_IR 192", b"ZzyzxMRNQX"),
    "name of odd characters": WHOLE.replace(b"ID-MRNQX", b"MRNQX\xff\xfe\xff"),
    "no pixels": WHOLE[: WHOLE.index(b"\xe0\x7f\x10\0")],
    "several frames": full(NumberOfFrames=2),
    **{f"in {term}": in_character_set(term) for term in _FOREIGN},
    **{f"{keyword} {value}": misplaced(keyword, value) for keyword in _READ for value in ("QUENTIN", BIRTH)},
    **{f"syntax {name}": under_syntax(name) for name in ("Zzyzx^Quentin", BIRTH, f"1.2.840.10008.{BIRTH}")},
    "bare text": WORDS.encode(),
    "markup": f"<patient>{WORDS}</patient>".encode(),
    "PNG": png(),
    "PNG cut off": png()[:2000],
    "PNG of an odd chunk": png_with_chunk(b"quEN"),
    "PNG of a damaged chunk": png_with_chunk(b"zzYZ", crc=0),
    "PNG of a damaged IDAT": png_with_chunk(b"IDAT"),
    "JPEG": jpeg(),
    "JPEG cut off": jpeg()[:2000],
    "WebP": webp(),
    "WebP cut off": webp()[:2000],
    "TIFF": tiff(),
    "TIFF cut off": tiff()[: len(tiff()) // 2],
    "BMP": encode(GREY, "BMP") + WORDS.encode(),
}
