"""The grey image that every decoder produces, and the rules all of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import CorruptImage, TooManyPixels
from app.imaging.preprocess import Region

ACCEPTED_FORMATS: Final = "PNG, JPEG, WebP, TIFF, BMP and DICOM"

RADIOGRAPH_MODALITIES: Final = ("CR", "DX", "RG")
"""Computed, digital and film radiography. Source: DICOM PS3.3 C.7.3.1.1.1."""

LOW_RESOLUTION_SIDE: Final = 224
"""A shorter side below the network input's is enlarged, which adds no detail. Source: the input's side."""

LEAST_SEEN: Final = Fraction(2, 3)
"""Of an image's area: where the network sees less, the sender is warned.

The centre square of an image of 3:2 is two thirds of it. The usual receptor for a chest, 35 x 43 cm, has sides of 1.23,
a child's 18 x 24 cm of 1.33. Of the 1,684 radiographs of the shipped model's data set 7 are beyond 1.5 (0.4 %), and 44
beyond 1.34: to warn about the usual would teach people not to read warnings.
"""

LevelMapping: TypeAlias = Callable[[NDArray[np.number]], NDArray[np.uint8]]
"""Turns an array of stored levels into grey levels, uint8, of the same shape."""

_BLOCK_SAMPLES: Final = 2**18


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a decoder accepts.

    Attributes:
        max_pixels: Most pixels (width times height) an image may declare.
        max_bytes: Most bytes after DICOM's own deflate is undone.
        modalities: DICOM modalities to accept.
    """

    max_pixels: int = 40_000_000
    max_bytes: int = 64 * 2**20
    modalities: tuple[str, ...] = RADIOGRAPH_MODALITIES


@dataclass(frozen=True, slots=True)
class ImageWarning:
    """Something about an accepted image that its sender should know.

    Attributes:
        code: Stable snake_case identifier.
        message: What was found and what it means for the answer.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is to be said of a decoded image once its pixels are gone; see ``GreyImage``."""

    format: str
    width: int
    height: int
    bits: int
    photometric_interpretation: str | None
    coloured: float
    warnings: tuple[ImageWarning, ...]


@dataclass(frozen=True, slots=True, eq=False)
class GreyImage:
    """A decoded image.

    Attributes:
        pixels: Grey levels 0..255 with white as the densest tissue, uint8, shape (H, W), upright.
        format: "PNG", "JPEG", "WEBP", "TIFF", "BMP" or "DICOM".
        bits: Bits a sample as stored.
        photometric_interpretation: DICOM (0028,0004); None for other formats.
        coloured: Share of its pixels, 0..1, that were of another colour than most.
        warnings: What its sender should know.
    """

    pixels: NDArray[np.uint8]
    format: str
    bits: int
    photometric_interpretation: str | None = None
    coloured: float = 0.0
    warnings: tuple[ImageWarning, ...] = ()

    @property
    def width(self) -> int:
        """Columns of the upright image."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Rows of the upright image."""
        return int(self.pixels.shape[0])

    @property
    def facts(self) -> ImageFacts:
        """Everything but the pixels."""
        return ImageFacts(
            self.format,
            self.width,
            self.height,
            self.bits,
            self.photometric_interpretation,
            self.coloured,
            self.warnings,
        )


def check_pixel_count(width: int, height: int, limits: DecodeLimits) -> None:
    """Refuse an image by its declared size, before it is decoded.

    Raises:
        CorruptImage: A side is not positive.
        TooManyPixels: More pixels than ``limits.max_pixels``.
    """
    if width < 1 or height < 1:
        raise CorruptImage(f"The image declares a size of {width} x {height} pixels. Both sides must be at least 1.")
    if width * height > limits.max_pixels:
        raise TooManyPixels(
            f"The image declares {width} x {height} pixels ({width * height / 1e6:.1f} megapixels). "
            f"At most {limits.max_pixels / 1e6:.1f} megapixels are accepted: send a smaller rendition."
        )


def resolution_warnings(width: int, height: int) -> tuple[ImageWarning, ...]:
    """Warn about an image that has to be enlarged to fill the network input."""
    if min(width, height) >= LOW_RESOLUTION_SIDE:
        return ()
    message = (
        f"The image is {width} x {height} pixels; below {LOW_RESOLUTION_SIDE} on a side it is enlarged "
        "and holds less detail than the images the model was trained on."
    )
    return (ImageWarning("low_resolution", message),)


def region_warnings(width: int, height: int, seen: Region) -> tuple[ImageWarning, ...]:
    """Warn about an image of which the network sees less than two thirds.

    Args:
        width: Columns of the upright image.
        height: Rows of the upright image.
        seen: The part that the network sees, a square.
    """
    if Fraction(seen.width * seen.height, width * height) >= LEAST_SEEN:
        return ()
    message = (
        f"The image is {width} x {height} pixels; the model saw only its centre square, {seen.width} x {seen.height}. "
        "Nothing outside had a part in the answer: where the lungs reach beyond, crop the image to the chest and send "
        "that."
    )
    return (ImageWarning("centre_square_only", message),)


def map_levels(samples: NDArray[np.number], mapping: LevelMapping) -> NDArray[np.uint8]:
    """Apply a mapping of grey levels without ever holding the image as floats.

    Samples of up to 16 bits have at most 65,536 levels: the mapping is computed once a level, between the
    smallest and the largest. Deeper samples are mapped a block at a time.

    Args:
        samples: Samples of any real dtype, any shape, at least one.
        mapping: Turns an array of levels into uint8 of the same shape, each element on its own.

    Returns:
        uint8 of the shape of ``samples``.
    """
    flat = samples.reshape(-1)
    if samples.dtype.kind in "iu" and samples.dtype.itemsize <= 2:
        low = int(flat.min())
        table = mapping(np.arange(low, int(flat.max()) + 1))

        def mapping(levels: NDArray[np.number]) -> NDArray[np.uint8]:
            return np.asarray(table[levels.astype(np.intp) - low], np.uint8)

    grey: NDArray[np.uint8] = np.empty(samples.shape, np.uint8)
    flat_grey = grey.reshape(-1)
    for start in range(0, flat.size, _BLOCK_SAMPLES):
        block = slice(start, start + _BLOCK_SAMPLES)
        flat_grey[block] = mapping(flat[block])
    return grey


def fractions_to_uint8(fractions: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn fractions of the output range into grey levels, clipped to 0..255 and rounded."""
    grey: NDArray[np.uint8] = np.rint(np.clip(fractions, 0, 1) * 255).astype(np.uint8)
    return grey


def scale_to_uint8(samples: NDArray[np.number]) -> NDArray[np.uint8]:
    """Spread deep samples over 0..255 from their own minimum to their own maximum.

    Nothing is clipped; a constant image becomes 0.

    Args:
        samples: Samples of any real dtype, any shape, all finite.

    Returns:
        uint8 of the same shape.
    """
    low = float(samples.min())
    span = float(samples.max()) - low or 1.0
    return map_levels(samples, lambda levels: fractions_to_uint8((levels.astype(np.float64) - low) / span))
