"""Decode the compressed frames of DICOM through imagecodecs.

pydicom's permissively licensed plugins refuse JPEG Lossless and 12-bit JPEG, both common in radiography,
trust the size that a codestream declares, and read RLE in pure Python. Here the codestream has to agree
with the header before memory is spent on it. Source: DICOM PS3.5, 8.2 and annexes A.4 and G.
"""

from dataclasses import dataclass
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from app.imaging.damage import check_jpeg_data
from app.imaging.jpeg_2000 import trusted_codestream
from app.imaging.structure import check_jpeg, marker_segments

NATIVE_SYNTAXES: Final = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
_LOSSY_JPEG: Final = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
_JPEG: Final = _LOSSY_JPEG | {JPEGLossless, JPEGLosslessSV1}
_JPEG_LS: Final = frozenset({JPEGLSLossless, JPEGLSNearLossless})
_JPEG_2000: Final = frozenset({JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})

SUPPORTED_SYNTAXES: Final = NATIVE_SYNTAXES | {RLELossless} | _JPEG | _JPEG_LS | _JPEG_2000
"""The transfer syntaxes that are read."""

_JPEG_END: Final = b"\xff\xd9"
_JPEG_TRAILER_BYTES: Final = 64  # padding that may follow it
_JFIF_START: Final = 6  # after SOI and the marker and length of APP0
_JPEG_LS_FRAME: Final = 0xFFF7
_JPEG_LS_PARAMETERS: Final = 0xFFF8
_START_OF_SCAN: Final = 0xFFDA
_OVERSIZE: Final = 4


@dataclass(frozen=True, slots=True)
class ImagePixels:
    """What a DICOM header says of its pixels (Image Pixel Module, PS3.3 C.7.6.3).

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        samples: Samples a pixel.
        bits_allocated: Bits that a sample takes.
        bits_stored: Bits of it that hold the value.
        high_bit: The highest of them, counted from 0.
        signed: Whether samples are two's complement.
        photometric_interpretation: What the samples mean, such as "MONOCHROME2".
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric_interpretation: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded frame: (rows, columns), with the samples as a third axis if several."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)


def decode_frame(frame: bytes, syntax: UID, pixels: ImagePixels) -> NDArray[np.integer]:
    """Decode one compressed frame.

    Args:
        frame: The codestream, without encapsulation.
        syntax: One of ``SUPPORTED_SYNTAXES`` that is not native.
        pixels: What the header says of the frame.

    Returns:
        Stored values of the shape that ``pixels`` says, sign-extended. Colour is as stored, save that
        lossy JPEG and JPEG 2000 give RGB (``gives_rgb``).

    Raises:
        Exception: Of a kind that depends on the codec, if the frame is damaged or contradicts ``pixels``.
    """
    if syntax == RLELossless:
        return use_stored_bits(_decode_rle(frame, pixels), pixels)
    if pixels.bits_stored > 16:
        raise ValueError("no codec here gives more than 16 bits a sample")
    # Of a truncated image libjpeg fills what is missing with grey, without an error, and CharLS searches for
    # the end for seconds.
    if syntax not in _JPEG_2000 and _JPEG_END not in frame[-_JPEG_TRAILER_BYTES:]:
        raise ValueError("the codestream has no end")
    samples = np.empty(pixels.shape, np.uint8 if pixels.bits_stored <= 8 else np.uint16)
    # Given an output, imagecodecs refuses a codestream of another size or depth before decoding it,
    # save for JPEG 2000.
    if syntax in _JPEG_LS:
        _check_jpeg_ls_size(frame, pixels)
        imagecodecs.jpegls_decode(frame, out=samples)
    elif syntax in _JPEG_2000:
        codestream = trusted_codestream(frame, pixels.rows, pixels.columns, pixels.samples)
        imagecodecs.jpeg2k_decode(codestream, out=samples)
    else:
        _decode_jpeg(frame, pixels, samples)
        if syntax in _LOSSY_JPEG and pixels.bits_stored <= 8:
            check_jpeg_data(frame)  # not before its size is known to be that of the header
    return use_stored_bits(samples, pixels)


def gives_rgb(syntax: UID) -> bool:
    """Tell whether colour comes out of ``decode_frame`` as RGB, whatever the header calls it."""
    return syntax in _LOSSY_JPEG or syntax in _JPEG_2000


def use_stored_bits(samples: NDArray[np.integer], pixels: ImagePixels) -> NDArray[np.integer]:
    """Drop what lies above and below the stored bits (overlays, for one) and extend the sign.

    Args:
        samples: Samples as they are allocated, in native byte order; changed in place where that is possible.
        pixels: Which of their bits are stored.

    Returns:
        Stored values of the same shape and size.

    Source: PS3.5, 8.1.1.
    """
    if pixels.signed:
        samples = samples.view(f"i{samples.itemsize}")
    bits = 8 * samples.itemsize
    if pixels.bits_stored < bits:
        out = samples if samples.flags.writeable else None
        samples = np.left_shift(samples, bits - 1 - pixels.high_bit, out=out)
        np.right_shift(samples, bits - pixels.bits_stored, out=samples)
    return samples


def _decode_jpeg(frame: bytes, pixels: ImagePixels, samples: NDArray[np.integer]) -> None:
    check_jpeg(frame)
    # Without a marker that names the colour space libjpeg takes three components for YCbCr.
    stored_as_rgb = pixels.photometric_interpretation == "RGB" and not frame.startswith(b"JFIF", _JFIF_START)
    colour_space = "RGB" if stored_as_rgb else None
    imagecodecs.jpeg8_decode(frame, colorspace=colour_space, outcolorspace=colour_space, out=samples)


def _check_jpeg_ls_size(frame: bytes, pixels: ImagePixels) -> None:
    """Hold a JPEG-LS codestream's size against the header: CharLS before 2.4.4 multiplies absurd ones.

    Source: ISO/IEC 14495-1, C.2.2 (SOF55) and C.2.4.1.4 (oversize image dimensions, which DICOM has no use for).
    """
    for marker, start, _ in marker_segments(frame, _START_OF_SCAN):
        if marker == _JPEG_LS_PARAMETERS and frame[start + 4] == _OVERSIZE:
            raise ValueError("the JPEG-LS codestream is larger than DICOM can say")
        if marker == _JPEG_LS_FRAME:
            rows, columns = (int.from_bytes(frame[at : at + 2], "big") for at in (start + 5, start + 7))
            if (rows, columns, frame[start + 9]) != (pixels.rows, pixels.columns, pixels.samples):
                raise ValueError("the JPEG-LS codestream is of another size than the header says")


def _decode_rle(frame: bytes, pixels: ImagePixels) -> NDArray[np.integer]:
    """Decode RLE: for each sample, one segment a byte, the most significant first. Source: PS3.5, annex G."""
    sample_bytes = pixels.bits_allocated // 8
    count, *starts = np.frombuffer(frame, "<u4", 16).tolist()
    if count != pixels.samples * sample_bytes:
        raise ValueError("the RLE frame has another number of segments than the header says")
    ends = [*starts[1:count], len(frame)]
    size = pixels.rows * pixels.columns
    planes = np.empty((size, pixels.samples, sample_bytes), np.uint8)
    for segment, (start, end) in enumerate(zip(starts[:count], ends, strict=True)):
        # One byte more than is needed: some encoders pad an odd size before they encode it.
        decoded = imagecodecs.packbits_decode(frame[start:end], out=bytearray(size + 1))
        planes[:, segment // sample_bytes, segment % sample_bytes] = np.frombuffer(decoded, np.uint8, size)
    samples = planes.view(f">u{sample_bytes}").astype(f"u{sample_bytes}")
    return samples.reshape(pixels.shape)
