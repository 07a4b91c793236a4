"""From stored values to grey levels: padding, several windows, values that are not as they should be."""

import tracemalloc

import numpy as np
import pytest
from pydicom import uid

from app.imaging.decode import decode
from app.imaging.presentation import apply_window
from tests.images import dicom, lookup_table

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
NATIVE = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]


def full_range(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)


def codes(data: bytes) -> list[str]:
    return [warning.code for warning in decode(data).warnings]


def padded(dtype: type, body: range, padding: int) -> np.ndarray:
    """Frame a ramp with padding: 16 x 16 pixels within 20 x 20."""
    values = np.linspace(body.start, body.stop - 1, 256).reshape(16, 16).astype(dtype)
    return np.pad(values, 2, constant_values=padding)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(
    ("dtype", "body", "padding"),
    [(np.uint16, range(1000, 3000), 0), (np.int16, range(-1000, 1000), -2000), (np.uint8, range(50, 200), 0)],
)
def test_padding_is_black_and_does_not_widen_the_range(syntax, dtype, body, padding):
    values = padded(dtype, body, padding)
    image = decode(dicom(values, transfer_syntax=syntax, PixelPaddingValue=padding))
    assert np.array_equal(image.pixels[2:-2, 2:-2], full_range(values[2:-2, 2:-2]))
    assert not image.pixels[values == padding].any()


def test_padding_of_monochrome1_is_black_too():
    values = padded(np.uint16, range(1000, 3000), 4095)
    image = decode(dicom(values, bits_stored=12, photometric_interpretation="MONOCHROME1", PixelPaddingValue=4095))
    assert np.array_equal(image.pixels[2:-2, 2:-2], 255 - full_range(values[2:-2, 2:-2]))
    assert not image.pixels[values == 4095].any()


@pytest.mark.parametrize(("value", "limit"), [(0, 20), (20, 0)])
def test_padding_may_be_a_range(value, limit):
    image = decode(dicom(RAMP, PixelPaddingValue=value, PixelPaddingRangeLimit=limit))
    levels = np.arange(256.0)
    expected = np.where(levels <= 20, 0, np.rint((levels - 21) / (255 - 21) * 255))
    assert np.array_equal(image.pixels.ravel(), expected)


def test_padding_is_black_under_a_window_and_a_lookup_table():
    values = RAMP.astype(np.uint16)
    windowed = decode(dicom(values, PixelPaddingValue=255, WindowCenter=128, WindowWidth=256)).pixels.ravel()
    assert windowed.tolist() == [*range(255), 0]
    table = lookup_table(np.arange(256)[::-1], 0, 8)
    looked_up = decode(dicom(values, PixelPaddingValue=0, VOILUTSequence=[table])).pixels.ravel()
    assert looked_up.tolist() == [0, *range(254, -1, -1)]


def test_a_modality_lut_s_range_leaves_padding_out():
    values = np.array([[0, 1], [4, 5]], np.uint16)
    table = lookup_table(np.array([900, 20, 900, 900, 30, 40]), 0, 16)
    image = decode(dicom(values, ModalityLUTSequence=[table], PixelPaddingValue=0))
    assert image.pixels.tolist() == [[0, 0], [128, 255]]


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_padding_is_read_from_its_16_bits_whatever_its_vr(vr):
    values = padded(np.int16, range(-1000, 1000), -2000)
    data = dicom(values, PixelPaddingValue=-2000).replace(b"\x28\0\x20\x01SS", b"\x28\0\x20\x01" + vr.encode())
    assert np.array_equal(decode(data).pixels[2:-2, 2:-2], full_range(values[2:-2, 2:-2]))


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 255},
        {"PixelPaddingValue": 3000},
        {"PixelPaddingRangeLimit": 100},
    ],
    ids=str,
)
def test_padding_that_cannot_be_is_ignored(tags):
    assert np.array_equal(decode(dicom(RAMP, **tags)).pixels, RAMP)


def test_a_padded_16_bit_image_is_never_held_as_floats():
    values = np.tile(np.arange(2**16, dtype=np.uint16), 64).reshape(2048, 2048)
    data = dicom(values, PixelPaddingValue=0)
    tracemalloc.start()
    try:
        decode(data)
        # The stored bytes, those that are no padding, and what tells them apart.
        assert tracemalloc.get_traced_memory()[1] < 8 * values.size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("centres", "widths", "used"),
    [
        ([100, 5], [50, 7], (100, 50)),
        ([100, 5], [0, 7], (5, 7)),
        (["", 90], ["", 60], (90, 60)),
        ([100], [50, 7], (100, 50)),
        ([100, 5, 6], [50], (100, 50)),
    ],
)
def test_the_first_window_that_can_be_used_is(centres, widths, used):
    data = dicom(RAMP, WindowCenter=centres, WindowWidth=widths)
    assert np.array_equal(decode(data).pixels, np.rint(apply_window(RAMP, *used) * 255))
    assert "window_unusable" not in codes(data)


@pytest.mark.parametrize("function", ["sigmoid", "SIGMOID ", "SIGMOID"])
def test_the_name_of_the_function_may_be_written_otherwise(function):
    data = dicom(RAMP, WindowCenter=100, WindowWidth=60, VOILUTFunction=function)
    assert np.array_equal(decode(data).pixels, np.rint(apply_window(RAMP, 100, 60, "SIGMOID") * 255))


def with_text(keyword: str, text: str, **tags) -> bytes:
    """Write a decimal string that pydicom would refuse to write."""
    stand_in = "9" * (len(text) + len(text) % 2)
    data = dicom(RAMP, **{"WindowCenter": 100, "WindowWidth": 60, keyword: stand_in, **tags})
    return data.replace(stand_in.encode(), text.encode("latin-1").ljust(len(stand_in)))


@pytest.mark.parametrize(
    ("text", "centre"), [("90,5", 90.5), ("1e2", 100), ("90,5\\20", 90.5), (" 90.25 ", 90.25), ("+90,25", 90.25)]
)
def test_a_decimal_comma_is_a_decimal_point(text, centre):
    data = with_text("WindowCenter", text)
    assert np.array_equal(decode(data).pixels, np.rint(apply_window(RAMP, centre, 60) * 255))


@pytest.mark.parametrize("text", ["1,024", "1,2,3", "wide", "nan", "inf", "\x80\x81", "1 2"], ids=repr)
def test_a_window_that_cannot_be_read_is_warned_about(text):
    data = with_text("WindowWidth", text)
    assert np.array_equal(decode(data).pixels, RAMP)
    assert "window_unusable" in codes(data)


@pytest.mark.parametrize(
    ("tags", "warned"),
    [
        ({}, False),
        ({"WindowCenter": "", "WindowWidth": ""}, False),
        ({"WindowCenter": 50}, True),
        ({"WindowCenter": 50, "WindowWidth": 0}, True),
        ({"WindowCenter": 50, "WindowWidth": 10}, False),
        ({"WindowCenter": 50, "VOILUTSequence": [lookup_table(np.arange(256), 0, 8)]}, False),
    ],
    ids=str,
)
def test_only_a_window_that_is_there_and_unusable_is_warned_about(tags, warned):
    assert ("window_unusable" in codes(dicom(RAMP, **tags))) == warned
