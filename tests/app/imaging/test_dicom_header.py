"""What a DICOM header says against an image, and about it."""

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from app.errors import CorruptImage, UnsupportedView
from app.imaging.decode import decode
from tests.images import dicom

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def codes(**tags) -> list[str]:
    return [warning.code for warning in decode(dicom(RAMP, **tags)).warnings]


def view(code: str, scheme: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, "a projection"
    return [item]


@pytest.mark.parametrize(
    "position",
    ["LL", "RL", "LLO", "RLO", "LATERAL", "LAT", "lateral", "L LAT", "LEFT LATERAL", "RIGHT_LATERAL", "RLAT"],
)
def test_lateral_view_positions_are_refused(position):
    with pytest.raises(UnsupportedView, match="lateral"):
        decode(dicom(RAMP, ViewPosition=position))


@pytest.mark.parametrize("position", ["AP", "PA", "LLD", "RLD", "", None, "FRONTAL", "DOE^JANE", "BILATERAL"])
def test_other_view_positions_are_accepted(position):
    assert np.array_equal(decode(dicom(RAMP, ViewPosition=position)).pixels, RAMP)


@pytest.mark.parametrize(("code", "scheme"), [("399067008", "SCT"), ("399173006", "SCT"), ("R-10232", "SRT")])
@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian], ids=lambda s: s.name)
def test_lateral_view_codes_are_refused(syntax, code, scheme):
    with pytest.raises(UnsupportedView, match=code):
        decode(dicom(RAMP, transfer_syntax=syntax, ViewCodeSequence=view(code, scheme)))


@pytest.mark.parametrize("sequence", [view("399348003", "SCT"), view("R-10214", "SRT"), [Dataset()], []], ids=str)
def test_other_view_codes_are_accepted(sequence):
    assert np.array_equal(decode(dicom(RAMP, ViewCodeSequence=sequence)).pixels, RAMP)


@pytest.mark.parametrize(("value", "warned"), [("YES", True), ("NO", False), ("", False), (None, False)])
def test_burned_in_annotation_is_warned_about(value, warned):
    assert ("burned_in_annotation" in codes(BurnedInAnnotation=value)) == warned


@pytest.mark.parametrize(("value", "warned"), [("FOR PROCESSING", True), ("FOR PRESENTATION", False), (None, False)])
def test_raw_detector_data_are_warned_about(value, warned):
    assert ("for_processing" in codes(PresentationIntentType=value)) == warned


def test_a_number_of_frames_that_is_none_is_named():
    data = dicom(RAMP, frames=77).replace(b"77", b"1A")
    with pytest.raises(CorruptImage, match="NumberOfFrames"):
        decode(data)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("frames", ["1", 1, 0, ""], ids=repr)
def test_one_frame_may_be_said_in_many_ways(frames):
    assert np.array_equal(decode(dicom(RAMP, NumberOfFrames=frames)).pixels, RAMP)
