"""Images for tests, made in code and the same at every run. No patient was involved."""

import io
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

_MADE_UP_UID: Final = "1.2.826.0.1.3680043.8.498.1"
"""Below the root that pydicom gives to users."""


def radiograph(height: int = 256, width: int = 200, seed: int = 0) -> NDArray[np.uint8]:
    """Draw something chest-like: two dark lungs in a brighter body, ribs, a little noise.

    Args:
        height: Rows.
        width: Columns.
        seed: Varies the anatomy a little and the noise.

    Returns:
        Grey levels, uint8, shape (height, width).
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, -1 : 1 : width * 1j]
    grey = 150 + 50 * np.exp(-((x / 0.18) ** 2)) + 30 * y  # the body, brightest along the spine
    for side in (-1, 1):
        centre_x = side * (0.45 + random.uniform(-0.03, 0.03))
        centre_y = 0.45 + random.uniform(-0.03, 0.03)
        distance = ((x - centre_x) / 0.32) ** 2 + ((y - centre_y) / 0.36) ** 2
        grey -= 110 / (1 + np.exp(12 * (distance - 1)))
    grey += 14 * (np.sin(2 * np.pi * (9 * y + 1.5 * np.abs(x))) > 0.4)  # ribs
    grey += random.normal(0, 3, grey.shape)
    pixels: NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return pixels


def encode(pixels: NDArray[Any], image_format: str, **options: Any) -> bytes:
    """Encode an image through Pillow.

    Args:
        pixels: uint8 of shape (H, W), (H, W, 3) or (H, W, 4), or uint16 of shape (H, W) for PNG and TIFF.
        image_format: "PNG", "JPEG", "WEBP", "TIFF", "BMP" or "GIF".
        **options: Given to ``PIL.Image.Image.save``.

    Returns:
        The file's bytes.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format, **options)
    return stream.getvalue()


def dicom(
    pixels: NDArray[Any],
    *,
    transfer_syntax: str = ExplicitVRLittleEndian,
    photometric_interpretation: str = "MONOCHROME2",
    bits_stored: int | None = None,
    modality: str | None = "DX",
    frames: int | None = None,
    **tags: Any,
) -> bytes:
    """Write a small DX object, without a patient in it.

    Args:
        pixels: Samples as allocated, signed or not, shape (H, W), (H, W, 3), or (frames, H, W).
        transfer_syntax: How to store them; compressed in lossy syntaxes at high quality.
        photometric_interpretation: What the samples mean.
        bits_stored: Bits Stored (0028,0101); as many as are allocated if None.
        modality: Modality (0008,0060).
        frames: Number of Frames (0028,0008); left out if None.
        **tags: Any other attributes by DICOM keyword, added or replaced; those that are None are left out.

    Returns:
        The file's bytes.
    """
    syntax = UID(transfer_syntax)
    dataset = _header(syntax)
    dataset.Modality = modality
    dataset.PhotometricInterpretation = photometric_interpretation
    samples = 3 if pixels.shape[-1] == 3 and pixels.ndim > 2 else 1
    dataset.SamplesPerPixel = samples
    dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if samples == 3 else pixels.shape[-2:]
    if samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.NumberOfFrames = frames
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = bits_stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = _pixel_data(pixels, syntax, dataset.BitsStored)
    dataset["PixelData"].VR = "OB" if syntax.is_encapsulated or pixels.itemsize == 1 else "OW"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    for keyword in [element.keyword for element in dataset if element.value is None]:
        delattr(dataset, keyword)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def lookup_table(entries: NDArray[Any], first: int, bits: int, byte_order: str = "<") -> Dataset:
    """Make an item of a Modality or VOI LUT Sequence.

    Args:
        entries: Its outputs, stored as bytes if they are uint8, else as words.
        first: The first input value, written as its 16 bits.
        bits: Bits an entry.
        byte_order: "<" or ">", of the words.

    Returns:
        The item.
    """
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 2**16, first % 2**16, bits])
    width = 1 if entries.dtype == np.uint8 else 2
    item.add_new("LUTData", "OW", entries.astype(f"{byte_order}u{width}").tobytes())
    return item


def _header(syntax: UID) -> Dataset:
    file_meta = FileMetaDataset()
    file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    file_meta.MediaStorageSOPInstanceUID = UID(f"{_MADE_UP_UID}.1")
    file_meta.TransferSyntaxUID = syntax
    dataset = Dataset()
    dataset.file_meta = file_meta
    dataset.SOPClassUID = file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = file_meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = UID(f"{_MADE_UP_UID}.2")
    dataset.SeriesInstanceUID = UID(f"{_MADE_UP_UID}.3")
    return dataset


def _pixel_data(pixels: NDArray[Any], syntax: UID, bits_stored: int) -> bytes:
    if not syntax.is_encapsulated:
        data = pixels.astype(pixels.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes()
        return data + bytes(len(data) % 2)
    return encapsulate([bytes(_codestream(pixels, syntax, bits_stored))])


def _codestream(pixels: NDArray[Any], syntax: UID, bits: int) -> bytes | bytearray:
    if syntax == RLELossless:
        return _rle(pixels)
    if syntax in (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K):
        lossless = syntax != HTJ2K
        step = 0.01 * 2.0 ** (bits - 8 * pixels.itemsize)  # as a fraction of the range of the dtype
        return imagecodecs.htj2k_encode(pixels, None if lossless else step, reversible=lossless)
    if syntax in JPEG2000TransferSyntaxes:
        lossless = syntax != JPEG2000
        return imagecodecs.jpeg2k_encode(
            pixels, 0 if lossless else 60, reversible=lossless, bitspersample=bits, codecformat="j2k"
        )
    # JPEG and JPEG-LS know no sign: the stored bits are coded as they are.
    unsigned = pixels.view(f"u{pixels.itemsize}") & (2**bits - 1)
    unsigned = unsigned.astype(np.uint8 if bits <= 8 else np.uint16)
    if syntax in JPEGLSTransferSyntaxes:
        return imagecodecs.jpegls_encode(unsigned, 0 if syntax == JPEGLSLossless else 2)
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return imagecodecs.jpeg8_encode(unsigned, 98, bitspersample=8 if bits <= 8 else 12)
    predictor = 1 if syntax == JPEGLosslessSV1 else 4
    return imagecodecs.jpeg8_encode(unsigned, lossless=True, predictor=predictor, bitspersample=bits)


def _rle(pixels: NDArray[Any]) -> bytes:
    samples = 3 if pixels.ndim == 3 else 1
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8)
    planes = rows.reshape(len(rows), -1, samples * pixels.itemsize)  # (H, W, bytes a pixel)
    # Runs do not cross rows. Source: DICOM PS3.5, G.3.
    segments = [
        b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in planes[..., i]) for i in range(planes.shape[2])
    ]
    segments = [segment + bytes(len(segment) % 2) for segment in segments]
    starts = np.cumsum([64, *(len(segment) for segment in segments)])[:-1]
    header = np.zeros(16, "<u4")
    header[0], header[1 : 1 + len(segments)] = len(segments), starts
    return header.tobytes() + b"".join(segments)
