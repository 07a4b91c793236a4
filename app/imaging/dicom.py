"""DICOM radiographs to grey images.

``dicom_file`` parses, ``dicom_header`` says what can be used, ``codecs`` decodes compressed pixels,
``presentation`` makes grey levels of stored values.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID, RLELossless

from app.errors import CorruptImage, CxrError, UnsupportedPixels
from app.imaging.codecs import NATIVE_SYNTAXES, ImagePixels, decode_frame, gives_rgb, use_stored_bits
from app.imaging.colour import coloured_share, coloured_share_of_chroma
from app.imaging.dicom_file import read_file
from app.imaging.dicom_header import MONOCHROME, PALETTE, YBR, check_object, describe_pixels
from app.imaging.grey import DecodeLimits, GreyImage, ImageWarning, resolution_warnings, scale_to_uint8
from app.imaging.presentation import presentation_warnings, to_grey_levels


def decode_dicom(data: bytes, limits: DecodeLimits) -> GreyImage:
    """Decode a single-frame DICOM radiograph.

    Args:
        data: A DICOM file, with preamble and file meta information (PS3.10, 7.1) or, uncompressed, without.
        limits: Bounds on pixels and inflated bytes, and the modalities to accept.

    Returns:
        Grey levels as a viewer would first show them, white for dense tissue.

    Raises:
        TooLarge: More pixels, or more bytes after inflation, than the limits.
        UnsupportedTransferSyntax: No decoder here reads the stored pixels.
        UnusableImage: Damaged, several frames, no pixel data, another modality, or a lateral view.
    """
    try:
        dataset, syntax, notes = read_file(data, limits)
        notes += check_object(dataset, limits)
        pixels = describe_pixels(dataset, limits)
        grey, coloured, more_notes = _to_grey(stored_values(dataset, syntax, pixels), dataset, syntax, pixels)
    except CxrError:
        raise
    except Exception as error:
        # pydicom and the codecs raise whatever they meet in damaged data. Their messages can quote
        # header values, so they are not passed on.
        raise CorruptImage(
            "The DICOM file cannot be decoded: a header or the pixel data are damaged, truncated or contradict each "
            "other. Export the object again."
        ) from error
    return GreyImage(
        grey,
        "DICOM",
        bits=pixels.bits_stored,
        photometric_interpretation=pixels.photometric_interpretation,
        coloured=coloured,
        warnings=(*notes, *more_notes, *resolution_warnings(pixels.columns, pixels.rows)),
    )


def stored_values(dataset: Dataset, syntax: UID, pixels: ImagePixels) -> NDArray[np.integer]:
    """Decode the first frame, whatever it shows.

    Args:
        dataset: The header, with the pixel data.
        syntax: One of ``SUPPORTED_SYNTAXES``.
        pixels: What the header says of the pixels.

    Returns:
        Stored values, sign-extended, shape (rows, columns) or (rows, columns, samples); see ``decode_frame``.

    Raises:
        CorruptImage: Twice as long as the header says.
        UnsupportedPixels: High Bit is out of place in a codestream.
        Exception: Of a kind that depends on the codec, if damaged.
    """
    if syntax in NATIVE_SYNTAXES:
        return _native_values(dataset, syntax, pixels)
    if syntax != RLELossless and pixels.high_bit != pixels.bits_stored - 1:
        # The codestream has a depth of its own: nothing says where in it the stored bits should be.
        raise UnsupportedPixels(
            "The compressed DICOM pixels are not in the lowest bits of their samples: High Bit (0028,0102) must be "
            "one less than Bits Stored (0028,0101). Export the object uncompressed."
        )
    return decode_frame(get_frame(dataset.PixelData, 0, number_of_frames=1), syntax, pixels)


def _native_values(dataset: Dataset, syntax: UID, pixels: ImagePixels) -> NDArray[np.integer]:
    frames = int(dataset.get("NumberOfFrames") or 1)
    frame_bytes = pixels.rows * pixels.columns * pixels.samples * pixels.bits_allocated // 8
    if frames == 1 and len(dataset.PixelData) >= 2 * frame_bytes + 2:
        raise CorruptImage(
            "The DICOM pixel data are at least twice as long as the header says. Export the object again."
        )
    if pixels.samples > 1 and dataset.get("PlanarConfiguration") is None:
        dataset.PlanarConfiguration = 0  # colour by pixel, as almost all is
    # pydicom would take the stored bits for the lowest, whatever High Bit says. Its types know no options.
    samples = get_decoder(syntax).as_array(dataset, index=0, raw=True, correct_unused_bits=False)[0]  # type: ignore[arg-type]
    return use_stored_bits(samples.astype(samples.dtype.newbyteorder("="), copy=False), pixels)


def _to_grey(
    stored: NDArray[np.integer], dataset: Dataset, syntax: UID, pixels: ImagePixels
) -> tuple[NDArray[np.uint8], float, tuple[ImageWarning, ...]]:
    if pixels.photometric_interpretation in MONOCHROME:
        return to_grey_levels(stored, dataset, pixels), 0.0, presentation_warnings(dataset)
    if pixels.photometric_interpretation == PALETTE:
        rgb = apply_color_lut(stored, dataset)
        return *_luminance(rgb if rgb.dtype == np.uint8 else scale_to_uint8(rgb)), ()
    if pixels.photometric_interpretation in YBR and not gives_rgb(syntax):
        # Y is the luminance.
        return np.ascontiguousarray(stored[..., 0]), coloured_share_of_chroma(stored[..., 1:]), ()
    return *_luminance(stored.astype(np.uint8, copy=False)), ()


def _luminance(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Reduce RGB to luma as Pillow does for the other formats (ITU-R 601), and tell how much of it is coloured."""
    image = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(image.convert("L")), coloured_share(image)
