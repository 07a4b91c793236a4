"""DICOM files as bytes: preamble, file meta information, transfer syntax."""

import numpy as np
import pytest
from pydicom import uid

from app.errors import CorruptImage, CxrError
from app.imaging.decode import decode, sniff_format
from tests.images import dicom

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
NATIVE = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
PREAMBLE_AND_MAGIC = 132


def named(syntax: uid.UID) -> str:
    return syntax.name


def without_file_meta(data: bytes) -> bytes:
    start = PREAMBLE_AND_MAGIC
    length = int.from_bytes(data[start + 8 : start + 12], "little")  # (0002,0000), of what follows it
    return data[start + 12 + length :]


def without_transfer_syntax(data: bytes) -> bytes:
    """Empty (0002,0010) and correct the group length before it."""
    at = data.index(b"\x02\0\x10\0UI") + 6
    length = int.from_bytes(data[at : at + 2], "little")
    group = PREAMBLE_AND_MAGIC + 8
    group_length = int.from_bytes(data[group : group + 4], "little") - length
    data = data[:at] + bytes(2) + data[at + 2 + length :]
    return data[:group] + group_length.to_bytes(4, "little") + data[group + 4 :]


def codes(data: bytes) -> list[str]:
    return [warning.code for warning in decode(data).warnings]


@pytest.mark.parametrize("start", [128, PREAMBLE_AND_MAGIC], ids=["DICM kept", "DICM missing"])
@pytest.mark.parametrize("syntax", [*NATIVE, uid.DeflatedExplicitVRLittleEndian, uid.JPEGLSLossless], ids=named)
def test_the_preamble_may_be_missing(syntax, start):
    data = dicom(RAMP, transfer_syntax=syntax)[start:]
    assert sniff_format(data) == "DICOM"
    assert np.array_equal(decode(data).pixels, RAMP)
    assert "transfer_syntax_missing" not in codes(data)


@pytest.mark.parametrize("strip", [without_file_meta, without_transfer_syntax])
@pytest.mark.parametrize("syntax", NATIVE, ids=named)
def test_a_syntax_that_is_not_named_is_told_by_the_data(syntax, strip):
    values = (RAMP.astype(np.uint16) * 16)[:, ::-1]
    data = strip(dicom(values, transfer_syntax=syntax, bits_stored=12))
    assert np.array_equal(decode(data).pixels, RAMP[:, ::-1])
    assert "transfer_syntax_missing" in codes(data)


@pytest.mark.parametrize("strip", [without_file_meta, without_transfer_syntax])
@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.RLELossless], ids=named)
def test_a_codec_that_is_not_named_is_never_guessed(syntax, strip):
    with pytest.raises(CorruptImage, match="names no transfer syntax"):
        decode(strip(dicom(RAMP, transfer_syntax=syntax)))


def test_compressed_pixels_under_an_uncompressed_syntax_are_refused():
    data = dicom(RAMP, transfer_syntax=uid.RLELossless)
    renamed = data.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0")
    with pytest.raises(CorruptImage, match="compressed, and the file says that they are not"):
        decode(renamed)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_implicit_data_under_an_explicit_syntax_are_read():
    data = dicom(RAMP, transfer_syntax=uid.ImplicitVRLittleEndian)
    at = data.index(b"\x02\0\x10\0UI") + 8
    name = b"1.2.840.10008.1.2\0"
    longer = b"1.2.840.10008.1.2.1\0"
    renamed = data[: at - 2] + len(longer).to_bytes(2, "little") + longer + data[at + len(name) :]
    assert np.array_equal(decode(renamed).pixels, RAMP)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("syntax", NATIVE, ids=named)
def test_a_truncated_data_set_is_refused(syntax, kept):
    data = without_file_meta(dicom(RAMP, transfer_syntax=syntax))
    with pytest.raises(CxrError):
        decode(data[: int(kept * len(data))])


@pytest.mark.parametrize("start", [b"\x08\0\x05\0CS", b"\0\x08\0\x05CS", b"\x08\0\x05\0\x0a\0\0\0", b"\x02\0\0\0UL"])
def test_noise_that_begins_like_a_data_set_is_corrupt(start):
    noise = np.random.default_rng(0).bytes(5000)
    with pytest.raises(CxrError):
        decode(start + noise)
