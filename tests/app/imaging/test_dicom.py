"""DICOM: transfer syntaxes, the grey-level pipeline, refusals."""

import tracemalloc

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from app.errors import (
    BodyTooLarge,
    CorruptImage,
    MultipleFrames,
    NoPixelData,
    TooManyPixels,
    UnsupportedModality,
    UnsupportedPixels,
    UnsupportedTransferSyntax,
    UnsupportedView,
)
from app.imaging import DecodeLimits
from app.imaging.decode import decode
from app.imaging.presentation import apply_window
from tests.images import dicom, lookup_table, radiograph

GREY = radiograph(61, 41)  # odd, so that padding matters
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]
LOSSLESS = [
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
]
LOSSY = [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K]


def named(syntax: uid.UID) -> str:
    return syntax.name


def stored(bits: int, signed: bool) -> np.ndarray:
    """Stretch the radiograph over all values of a depth."""
    values = GREY.astype(np.int64) * (2**bits - 1) // 255 - signed * 2 ** (bits - 1)
    return values.astype(f"{'ui'[signed]}{1 if bits == 8 else 2}")


def full_range(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", [*NATIVE, *LOSSLESS], ids=named)
def test_lossless_syntaxes_give_the_stored_values(syntax, bits, signed):
    values = stored(bits, signed)
    image = decode(dicom(values, transfer_syntax=syntax, bits_stored=bits))
    assert np.array_equal(image.pixels, full_range(values))
    assert (image.format, image.bits, image.photometric_interpretation) == ("DICOM", bits, "MONOCHROME2")
    assert (image.width, image.height) == (41, 61)


@pytest.mark.parametrize(
    ("syntax", "bits"), [(uid.JPEGBaseline8Bit, 8), *((syntax, bits) for syntax in LOSSY[1:] for bits in (8, 12))]
)
def test_lossy_syntaxes_come_close(syntax, bits):
    image = decode(dicom(stored(bits, False), transfer_syntax=syntax, bits_stored=bits))
    assert np.abs(image.pixels.astype(int) - full_range(GREY)).max() <= 6


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_lossless_with_every_predictor(bits, predictor):
    values = stored(bits, False)
    codestream = imagecodecs.jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits)
    image = decode(
        dicom(values, transfer_syntax=uid.JPEGLossless, bits_stored=bits, PixelData=encapsulate([codestream]))
    )
    assert np.array_equal(image.pixels, full_range(values))


def test_jpeg_lossless_of_another_encoder():
    values = stored(12, False)
    codestream = imagecodecs.ljpeg_encode(values, bitspersample=12)
    image = decode(
        dicom(values, transfer_syntax=uid.JPEGLosslessSV1, bits_stored=12, PixelData=encapsulate([codestream]))
    )
    assert np.array_equal(image.pixels, full_range(values))


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("has_offset_table", [False, True])
def test_a_frame_may_come_in_fragments(fragments, has_offset_table):
    codestream = imagecodecs.jpegls_encode(GREY)
    data = encapsulate([codestream], fragments_per_frame=fragments, has_bot=has_offset_table)
    image = decode(dicom(GREY, transfer_syntax=uid.JPEGLSLossless, PixelData=data))
    assert np.array_equal(image.pixels, full_range(GREY))


def test_a_jp2_file_in_place_of_a_codestream_is_read():
    jp2 = imagecodecs.jpeg2k_encode(GREY, 0, reversible=True, codecformat="jp2")
    image = decode(dicom(GREY, transfer_syntax=uid.JPEG2000Lossless, PixelData=encapsulate([jp2])))
    assert np.array_equal(image.pixels, full_range(GREY))


@pytest.mark.parametrize(
    "syntax", [*NATIVE, uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless], ids=named
)
def test_bits_above_the_stored_ones_are_dropped(syntax):
    overlay = stored(12, False) | np.uint16(0xA000)
    image = decode(dicom(overlay, transfer_syntax=syntax, BitsStored=12, HighBit=11))
    assert np.array_equal(image.pixels, full_range(stored(12, False)))


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize(("bits", "high_bit"), [(12, 15), (10, 13), (9, 8), (8, 15)])
@pytest.mark.parametrize("syntax", [*NATIVE, uid.RLELossless], ids=named)
def test_the_stored_bits_may_lie_anywhere(syntax, bits, high_bit, signed):
    values = stored(bits, signed)
    words = (values.astype(np.int64) << (high_bit - bits + 1)) & (2 ** (high_bit + 1) - 1)
    below, above = 2 ** (high_bit - bits + 1) - 1, 2**16 - 2 ** (high_bit + 1)  # all ones, as overlays could be
    words = (words | below | above).astype(np.uint16).view(np.int16 if signed else np.uint16)
    image = decode(dicom(words, transfer_syntax=syntax, bits_stored=bits, HighBit=high_bit))
    assert np.array_equal(image.pixels, full_range(values))
    assert image.bits == bits


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", range(8, 17))
def test_every_depth_of_8_to_16_bits_in_16(bits, signed):
    values = stored(16, signed) >> (16 - bits)
    assert np.array_equal(decode(dicom(values, bits_stored=bits)).pixels, full_range(values))


def test_a_sample_of_32_bits_is_read():
    values = GREY.astype(np.uint32) * 9_999_999
    assert np.array_equal(decode(dicom(values)).pixels, full_range(values))


def test_monochrome1_is_inverted_last():
    window = {"WindowCenter": 100, "WindowWidth": 50}
    plain = decode(dicom(RAMP, **window))
    inverted = decode(dicom(RAMP, photometric_interpretation="MONOCHROME1", **window))
    assert np.array_equal(inverted.pixels, 255 - plain.pixels)
    assert inverted.photometric_interpretation == "MONOCHROME1"


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        # PS3.3 C.11.2.1.2.1, its example of centre 2048 and width 4096: 0 and 4095 are the ends.
        ("LINEAR", -1, 0),
        ("LINEAR", 0, 0),
        ("LINEAR", 4095, 1),
        ("LINEAR", 2047.5, 0.5),
        ("LINEAR_EXACT", 0, 0),
        ("LINEAR_EXACT", 2048, 0.5),
        ("LINEAR_EXACT", 4095, 4095 / 4096),
        ("LINEAR_EXACT", 4096, 1),
        ("SIGMOID", 2048, 0.5),
        ("SIGMOID", 2048 + 1024, 1 / (1 + np.exp(-1))),
        ("SIGMOID", -(10**9), 0),
    ],
)
def test_window_functions(function, value, expected):
    assert apply_window(np.array([value]), 2048, 4096, function) == pytest.approx([expected])


def test_a_linear_window_of_width_1_is_a_threshold():
    assert apply_window(np.array([9, 10, 11]), 10.5, 1).tolist() == [0, 0, 1]


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_the_first_window_is_applied_after_the_rescale(function, signed):
    values = stored(12, signed)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": [900, 5], "WindowWidth": [1500, 7]}
    image = decode(dicom(values, bits_stored=12, VOILUTFunction=function, **tags))
    expected = apply_window(values * 2.0 - 100, 900, 1500, function or "LINEAR")
    assert np.array_equal(image.pixels, np.rint(expected * 255))


def test_a_negative_slope_inverts():
    assert np.array_equal(decode(dicom(RAMP, RescaleSlope=-1, RescaleIntercept=0)).pixels, 255 - RAMP)


SQUARES = np.arange(256) ** 2  # 0..65025


@pytest.mark.parametrize("syntax", NATIVE, ids=named)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_a_voi_lut_is_applied(syntax, signed):
    values = (RAMP.astype(np.int16) - 128 * signed).astype(np.int16 if signed else np.uint16)
    table = lookup_table(SQUARES, int(values.min()), 16, "<" if syntax.is_little_endian else ">")
    image = decode(dicom(values, transfer_syntax=syntax, VOILUTSequence=[table], WindowCenter=1, WindowWidth=1))
    assert np.array_equal(image.pixels, np.rint(SQUARES / 65535 * 255).reshape(16, 16))


@pytest.mark.parametrize("entries", [np.arange(256), np.arange(256, dtype=np.uint8)], ids=["16-bit words", "bytes"])
def test_a_voi_lut_of_8_bits_may_be_packed(entries):
    image = decode(dicom(RAMP, VOILUTSequence=[lookup_table(entries[::-1], 0, 8)]))
    assert np.array_equal(image.pixels, 255 - RAMP)


def test_a_voi_lut_of_8_bits_may_have_many_entries():
    values = stored(12, False)
    table = lookup_table(np.arange(4096) // 16, 0, 8)
    assert np.array_equal(decode(dicom(values, bits_stored=12, VOILUTSequence=[table])).pixels, values // 16)


def test_inputs_beyond_a_lookup_table_map_to_its_ends():
    table = lookup_table(np.array([10, 20, 30]), 100, 8)
    pixels = decode(dicom(RAMP, VOILUTSequence=[table])).pixels.ravel()
    assert pixels[[0, 99, 100, 101, 102, 255]].tolist() == [10, 10, 10, 20, 30, 30]


def test_a_lookup_table_of_65536_entries_declares_0():
    values = stored(16, False)
    table = lookup_table(np.arange(2**16)[::-1], 0, 16)
    image = decode(dicom(values, VOILUTSequence=[table]))
    assert np.array_equal(image.pixels, np.rint((65535 - values.astype(float)) / 65535 * 255))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_a_modality_lut_comes_before_the_full_range(bits, signed):
    values = (RAMP.astype(np.int16) - 128 * signed).astype(np.int16 if signed else np.uint16)
    outputs = np.abs(np.arange(256) - 100) + 1  # neither rising nor falling
    table = lookup_table(outputs, int(values.min()), bits)
    image = decode(dicom(values, ModalityLUTSequence=[table]))
    assert np.array_equal(image.pixels, full_range(outputs).reshape(16, 16))


def test_a_modality_lut_spans_only_the_levels_in_use():
    values = np.array([[0, 1], [4, 5]], np.uint16)
    table = lookup_table(np.array([10, 20, 900, 900, 30, 40]), 0, 16)
    assert decode(dicom(values, ModalityLUTSequence=[table])).pixels.tolist() == [[0, 85], [170, 255]]


def test_a_window_follows_a_modality_lut():
    table = lookup_table(np.arange(256) * 4, 0, 12)
    image = decode(dicom(RAMP, ModalityLUTSequence=[table], WindowCenter=512, WindowWidth=1024))
    assert np.array_equal(image.pixels, np.rint(apply_window(RAMP * 4.0, 512, 1024) * 255))


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 50, "WindowWidth": 0},
        {"WindowCenter": 50, "WindowWidth": -3},
        {"WindowCenter": 50, "WindowWidth": 0.5},
        {"WindowCenter": 50, "WindowWidth": ""},
        {"WindowCenter": 50},
        {"WindowWidth": 50},
        {"RescaleSlope": 0, "RescaleIntercept": 9},
        {"RescaleSlope": 3},
        {"RescaleSlope": "", "RescaleIntercept": ""},
    ],
    ids=str,
)
def test_an_unusable_window_or_rescale_counts_as_absent(tags):
    assert np.array_equal(decode(dicom(RAMP, **tags)).pixels, RAMP)


@pytest.mark.parametrize("keyword", ["WindowWidth", "RescaleSlope"])
def test_a_window_or_rescale_that_is_no_number_counts_as_absent(keyword):
    tags = {"WindowCenter": 50, "RescaleIntercept": 7, keyword: "98765432"}
    data = dicom(RAMP, **tags).replace(b"98765432", b"98ab5432")
    assert np.array_equal(decode(data).pixels, RAMP)


def test_a_constant_image_is_black():
    assert not decode(dicom(np.full((9, 9), 777, np.uint16))).pixels.any()


COLOUR = np.dstack([RAMP, 255 - RAMP, RAMP // 2])


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGBaseline8Bit], ids=named)
def test_rgb_becomes_luminance(syntax):
    image = decode(dicom(COLOUR, transfer_syntax=syntax, photometric_interpretation="RGB"))
    expected = COLOUR @ [0.299, 0.587, 0.114]
    assert np.abs(image.pixels - expected).max() <= (9 if syntax == uid.JPEGBaseline8Bit else 1)


def test_rgb_may_come_by_plane_or_without_saying_how():
    planes = np.ascontiguousarray(np.moveaxis(COLOUR, -1, 0)).tobytes()
    by_plane = dicom(COLOUR, photometric_interpretation="RGB", PixelData=planes, PlanarConfiguration=1)
    by_pixel = dicom(COLOUR, photometric_interpretation="RGB", PlanarConfiguration=None)
    assert np.array_equal(decode(by_plane).pixels, decode(by_pixel).pixels)


def test_ybr_422_holds_two_luminances_a_pair():
    pairs = np.dstack([RAMP[:, ::2], RAMP[:, 1::2], RAMP[:, ::2], RAMP[:, ::2]])  # Y1 Y2 CB CR
    image = decode(dicom(COLOUR, photometric_interpretation="YBR_FULL_422", PixelData=pairs.tobytes()))
    assert np.array_equal(image.pixels, RAMP)


def test_the_luminance_of_ybr_is_its_first_sample():
    image = decode(dicom(COLOUR, photometric_interpretation="YBR_FULL"))
    assert np.array_equal(image.pixels, RAMP)


def test_palette_colour_becomes_luminance():
    palette = {}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = (np.arange(256, dtype="<u2")[::-1] * 257).tobytes()
    image = decode(dicom(RAMP, photometric_interpretation="PALETTE COLOR", **palette))
    assert np.array_equal(image.pixels, 255 - RAMP)


@pytest.mark.parametrize(
    ("error", "tags"),
    [
        (MultipleFrames, {"frames": 2}),
        (MultipleFrames, {"NumberOfFrames": 30}),
        (UnsupportedModality, {"modality": "CT"}),
        (NoPixelData, {"PixelData": None}),
        (TooManyPixels, {"Rows": 60_000, "Columns": 60_000}),
        (CorruptImage, {"Rows": 0}),
        (CorruptImage, {"Columns": None}),
        (CorruptImage, {"Rows": 17}),
        (CorruptImage, {"Rows": 8}),
        (CorruptImage, {"BitsStored": None}),
        (CorruptImage, {"BitsStored": 0}),
        (CorruptImage, {"BitsStored": 9}),
        (CorruptImage, {"BitsStored": 6, "HighBit": 4}),
        (CorruptImage, {"BitsStored": 6, "HighBit": 8}),
        (CorruptImage, {"PixelRepresentation": None}),
        (CorruptImage, {"PixelData": bytes(200)}),
        (CorruptImage, {"PixelData": bytes(600)}),
        (UnsupportedPixels, {"transfer_syntax": uid.JPEGLSLossless, "BitsStored": 6, "HighBit": 7}),
        (UnsupportedView, {"ViewPosition": "LL"}),
        (UnsupportedPixels, {"SamplesPerPixel": 3}),
        (UnsupportedPixels, {"PhotometricInterpretation": "HSV"}),
        (UnsupportedPixels, {"PhotometricInterpretation": None}),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else value.code,
)
def test_refusals(error, tags):
    with pytest.raises(error) as raised:
        decode(dicom(RAMP, **tags))
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2"),
        ("1.2.840.10008.1.2.4.94", "JPIP"),
        ("1.2.3.4.5", "DICOM does not define"),
        ("1.2.840.10008.1.1", "1.2.840.10008.1.1"),
        ("DOE^JANE", "DICOM does not define"),
        ("19700101", "DICOM does not define"),
        ("1.2.840.10008.19700101", "DICOM does not define"),
    ],
)
def test_another_transfer_syntax_is_named(syntax, name):
    element = b"\x02\0\x10\0UI"
    start = (data := dicom(RAMP)).index(element) + len(element)
    end = start + 2 + int.from_bytes(data[start : start + 2], "little")
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    data = data[:start] + len(value).to_bytes(2, "little") + value + data[end:]
    with pytest.raises(UnsupportedTransferSyntax, match=name):
        decode(data)


def test_a_missing_modality_is_warned_about():
    assert "modality_missing" in [warning.code for warning in decode(dicom(RAMP, modality=None)).warnings]


def test_other_modalities_can_be_admitted():
    assert decode(dicom(RAMP, modality="XA"), DecodeLimits(modalities=("XA",))).pixels.shape == (16, 16)


@pytest.mark.parametrize("name", ["DOE^JANE", "DOE"])
def test_messages_quote_no_header_value_that_could_be_a_name(name):
    for tags in ({"modality": name}, {"photometric_interpretation": name}):
        with pytest.raises((UnsupportedModality, UnsupportedPixels), match=r"\(unknown\)") as raised:
            decode(dicom(RAMP, PatientName=name, **tags))
        assert name not in str(raised.value)


@pytest.mark.parametrize("kept", [132, 133, 150, 300, 0.5, 0.99])
@pytest.mark.parametrize("syntax", [*NATIVE, *LOSSLESS, uid.JPEGExtended12Bit], ids=named)
def test_a_truncated_file_is_refused(syntax, kept):
    data = dicom(stored(12, False), transfer_syntax=syntax, bits_stored=12)
    with pytest.raises((CorruptImage, NoPixelData)):
        decode(data[: kept if isinstance(kept, int) else int(kept * len(data))])


@pytest.mark.parametrize("value", [{"RescaleSlope": 1e308, "RescaleIntercept": 1e308}, {"WindowWidth": 1e-308}])
def test_absurd_numbers_are_corrupt(value):
    tags = {"WindowCenter": 1e9, "VOILUTFunction": "LINEAR_EXACT"} if "WindowWidth" in value else {}
    with pytest.raises(CorruptImage):
        decode(dicom(RAMP, **tags, **value))


@pytest.mark.parametrize("descriptor", [[256, 0, 0], [256, 0, 60_000], [300, 0, 16], [256, 0]], ids=str)
def test_a_broken_lookup_table_is_corrupt(descriptor):
    table = lookup_table(SQUARES, 0, 16)
    table.LUTDescriptor = descriptor
    with pytest.raises(CorruptImage):
        decode(dicom(RAMP, VOILUTSequence=[table]))


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.RLELossless], ids=named)
def test_a_file_of_very_many_parts_is_refused_soon(syntax):
    data = dicom(RAMP, transfer_syntax=syntax)
    empty_item = b"\xfe\xff\x00\xe0" + bytes(4)
    parts = empty_item * 200_000
    if syntax == uid.RLELossless:  # fragments of the pixel data
        start = data.rindex(empty_item[:4])
    else:  # items of a sequence
        start = data.index(b"\x08\0\x16\0")
        parts = b"\x08\0\x40\x11\xff\xff\xff\xff" + parts + b"\xfe\xff\xdd\xe0" + bytes(4)
    with pytest.raises(CorruptImage):
        decode(data[:start] + parts + data[start:])


@pytest.mark.parametrize("tag", [b"\x28\0\x50\x10", b"\x28\0\x10\x30"], ids=["WindowCenter", "VOILUTSequence"])
def test_an_attribute_of_absurd_length_is_refused_soon(tag):
    data = dicom(RAMP, transfer_syntax=uid.ImplicitVRLittleEndian)
    start = data.index(b"\xe0\x7f\x10\0")
    value = b"1\\1\\" * 2**20
    with pytest.raises(CorruptImage):
        decode(data[:start] + tag + len(value).to_bytes(4, "little") + value + data[start:])


def test_garbage_after_the_magic_is_corrupt():
    with pytest.raises(CorruptImage):
        decode(bytes(128) + b"DICM" + bytes(range(256)) * 9)


def test_what_follows_the_pixel_data_is_ignored():
    assert np.array_equal(decode(dicom(RAMP) + b"\xfc\xff\xfc\xffOB\0\0\xff\xff\xff\x7f").pixels, RAMP)


def test_inflation_is_bounded():
    data = dicom(RAMP, transfer_syntax=uid.DeflatedExplicitVRLittleEndian, PixelData=bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decode(data, DecodeLimits(max_bytes=1_000_000))
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_inflation_is_bounded_whatever_the_group_length_says():
    data = bytearray(dicom(RAMP, transfer_syntax=uid.DeflatedExplicitVRLittleEndian, PixelData=bytes(5_000_000)))
    data[140:144] = bytes(4)
    with pytest.raises(BodyTooLarge):
        decode(bytes(data), DecodeLimits(max_bytes=1_000_000))


def with_codestream(codestream: bytes, syntax: uid.UID) -> bytes:
    return dicom(GREY, transfer_syntax=syntax, PixelData=encapsulate([codestream]))


def test_tile_part_lengths_that_lie_never_reach_the_decoder():
    """OpenJPEG 2.5.4 writes beyond its heap here: one length, and tile-parts that do not say how many they are."""
    resolutions = imagecodecs.HTJ2K.TILEPART.RESOLUTIONS
    codestream = bytearray(imagecodecs.htj2k_encode(GREY, resolutions=5, tilepart=resolutions, tlm=True))
    tile_part = start_of_first = codestream.index(b"\xff\x90")
    while codestream.startswith(b"\xff\x90", tile_part):
        codestream[tile_part + 11] = 0  # TNsot
        tile_part += int.from_bytes(codestream[tile_part + 6 : tile_part + 10], "big")  # Psot
    start = codestream.index(b"\xff\x55")
    lengths = b"\xff\x55\0\x0a" + codestream[start + 4 : start + 12]  # TLM with the first entry alone
    lying = bytes(codestream[:start] + lengths + codestream[start_of_first:])
    assert np.array_equal(decode(with_codestream(lying, uid.HTJ2KLossless)).pixels, full_range(GREY))


def check_refused_unseen(data: bytes) -> None:
    """It must be our own check that refuses: the decoder, which is None here, would raise TypeError."""
    with pytest.raises(CorruptImage) as refusal:
        decode(data)
    assert isinstance(refusal.value.__cause__, ValueError)


def test_an_unknown_segment_of_jpeg_2000_never_reaches_the_decoder(monkeypatch):
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", None)
    codestream = bytes(imagecodecs.jpeg2k_encode(GREY, 0, reversible=True, codecformat="j2k"))
    start = codestream.index(b"\xff\x52")
    hidden = b"\xff\x79\0\x0c" + b"\xff\x55\0\x08\0\x50\0\1\0\1"  # tile-part lengths, within
    check_refused_unseen(with_codestream(codestream[:start] + hidden + codestream[start:], uid.JPEG2000Lossless))


@pytest.mark.parametrize(
    "segment",
    [b"\xff\xf8\0\x0a\4\3" + b"\xff" * 6, b"\xff\xf7\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0", b"\xff\xfe\0\2" * 2000],
    ids=["oversize", "another size before", "comments without end"],
)
def test_a_jpeg_ls_header_that_lies_never_reaches_the_decoder(segment, monkeypatch):
    monkeypatch.setattr(imagecodecs, "jpegls_decode", None)
    codestream = bytes(imagecodecs.jpegls_encode(GREY))
    check_refused_unseen(with_codestream(codestream[:2] + segment + codestream[2:], uid.JPEGLSLossless))


def test_jpeg_ls_without_an_end_never_reaches_the_decoder(monkeypatch):
    """CharLS 2.4.3 spends seconds on some of it."""
    monkeypatch.setattr(imagecodecs, "jpegls_decode", None)
    codestream = bytes(imagecodecs.jpegls_encode(GREY))
    check_refused_unseen(with_codestream(codestream[:-2], uid.JPEGLSLossless))


def test_fill_bytes_between_the_markers_of_jpeg_ls_are_allowed():
    codestream = bytes(imagecodecs.jpegls_encode(GREY))
    filled = codestream[:2] + b"\xff\xff" + codestream[2:]
    assert np.array_equal(decode(with_codestream(filled, uid.JPEGLSLossless)).pixels, full_range(GREY))


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY], ids=named)
def test_a_codestream_larger_than_the_header_says_is_corrupt(syntax):
    data = dicom(np.zeros((3000, 3000), np.uint8), transfer_syntax=syntax, Rows=30, Columns=30)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptImage):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_16_bit_image_is_never_held_as_floats():
    values = np.tile(np.arange(2**16, dtype=np.uint16), 64).reshape(2048, 2048)
    data = dicom(values, WindowCenter=30_000, WindowWidth=50_000)
    tracemalloc.start()
    try:
        decode(data)
        # The stored bytes, a corrected copy of them and the grey levels: 5 bytes a pixel, and the level table.
        assert tracemalloc.get_traced_memory()[1] < 6 * values.size
    finally:
        tracemalloc.stop()
