"""The files that pydicom installs, other programs' work, held to the table of docs/dicom.md."""

import hashlib
import re
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array
from pydicom.uid import UID, JPEGBaseline8Bit

from app.errors import CxrError
from app.imaging import DecodeLimits
from app.imaging.codecs import SUPPORTED_SYNTAXES
from app.imaging.decode import decode
from app.imaging.dicom import stored_values
from app.imaging.dicom_file import read_file
from app.imaging.dicom_header import describe_pixels
from tests.app.server import ROOT

PAGE: Final = (ROOT / "docs" / "dicom.md").read_text(encoding="utf-8")
ROWS: Final = [
    [cell.strip("` ") for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if re.match(r"\| `\S+\.dcm` \|", line)
]
EVERY_MODALITY: Final = DecodeLimits(
    modalities=("CT", "ECG", "HD", "MR", "NM", "OT", "RTDOSE", "RTPLAN", "RTSTRUCT", "SEG", "SR", "US", "XA")
)
# GDCM 3.2.6 decodes the same.
SHA256: Final = {
    "GDCMJ2K_TextGBR.dcm": "bea5673fdd49313fd8c391f115e57ac501f44194aa3915c22293ddb55f1d0b88",
    "JPEGLSNearLossless_08.dcm": "9eb46aa86c342094f826affc35703f71b425ba4ef229fe1711adcf1bb3ca458f",
    "JPEGLSNearLossless_16.dcm": "f929318278115ce952d85c011f752634e266720680e807bd03bf97ded3f0d3e4",
    "MR_small_jpeg_ls_lossless.dcm": "88617aaa46138fb1b6e2a951e762d962382354d69f47f8c04d4abff2f6a6a63e",
    "SC_rgb_jls_lossy_line.dcm": "bd5344c0a46bc6c0869921680aa72c1ee344be34079d9b9c5b421336f24d798f",
    "SC_rgb_jls_lossy_sample.dcm": "bd5344c0a46bc6c0869921680aa72c1ee344be34079d9b9c5b421336f24d798f",
    "SC_rgb_jpeg_gdcm.dcm": "169e619557b12114a7f0be8602026e9abb3d5045804311736ec14cecb026aca9",
}
# As pylibjpeg-libjpeg 2.5.0 decodes it.
JPG_EXTENDED: Final = {(143, 136): 153, (416, 146): 179, (422, 132): 216, (428, 143): 152}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def sample(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom comes without {name}")
    return Path(path)


def decode_below_the_gate(path: Path) -> np.ndarray:
    """Decode the first frame of an object of any kind."""
    dataset, syntax, _ = read_file(path.read_bytes(), EVERY_MODALITY)
    return stored_values(dataset, syntax, describe_pixels(dataset, EVERY_MODALITY))


def short_name(syntax: UID) -> str:
    return re.sub(r", Non-Hier.*", ", SV1", syntax.name).replace(" Image Compression", "")


@pytest.mark.parametrize(("name", "syntax", "outcome"), [(row[0], row[1], row[3]) for row in ROWS])
def test_the_answer_is_that_of_the_table(name, syntax, outcome):
    data = sample(name).read_bytes()
    try:
        bits = decode(data, EVERY_MODALITY).bits
        answer = f"{bits} bit" if bits == 1 else f"{bits} bits"
    except CxrError as error:
        answer = error.code
    assert outcome == answer
    assert outcome == "unsupported_format" or short_name(read_file(data, EVERY_MODALITY)[1]) == syntax


@pytest.mark.parametrize(("name", "reader"), [(row[0], row[4]) for row in ROWS if row[4] in ("pydicom", "Pillow")])
def test_the_stored_values_are_those_that_pydicom_reads(name, reader):
    path = sample(name)
    ours = decode_below_the_gate(path).astype(int)
    dataset = pydicom.dcmread(path)
    raw = dataset.file_meta.TransferSyntaxUID != JPEGBaseline8Bit  # that one as RGB, like ours
    theirs = pixel_array(dataset, index=0, raw=raw).astype(int)
    assert np.abs(ours - theirs).max() <= (0 if raw else 1)


@pytest.mark.parametrize("name", [row[0] for row in ROWS if row[4] == "GDCM"])
def test_the_stored_values_are_those_that_another_decoder_reads(name):
    assert hashlib.sha256(np.ascontiguousarray(decode_below_the_gate(sample(name)))).hexdigest() == SHA256[name]


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_12_bit_jpeg_is_as_another_decoder_reads_it(name):
    values = decode_below_the_gate(sample(name))
    assert {at: int(values[at]) for at in JPG_EXTENDED} == pytest.approx(JPG_EXTENDED, abs=2)


def test_every_transfer_syntax_that_is_read_is_in_the_table():
    first_table = PAGE.split("## ")[1]
    table = set(re.findall(r"1\.2\.840\.10008\.1\.2[.\d]*", first_table))
    assert table == SUPPORTED_SYNTAXES


@pytest.mark.parametrize("codec", ["jpeg8", "jpegls", "jpeg2k", "packbits"])
def test_the_decoders_versions_are_in_the_table(codec):
    """An upgrade of imagecodecs means a look at what it bundles and at its known vulnerabilities."""
    header = re.search(r"\| codec .*", PAGE)
    row = re.search(rf"\| `{codec}` .*", PAGE)
    assert header
    assert row
    column = header[0].split(" | ").index(f"imagecodecs {imagecodecs.__version__}")
    version = getattr(imagecodecs, f"{codec}_version")().split(" ")[1].split("/")[0]
    assert row[0].split(" | ")[column] == version
