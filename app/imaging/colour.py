"""How much of an image is coloured: photographs are, radiographs are not, save for marks and an even tint."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SAMPLES: Final = 128
"""A side, at most: every so many pixels one is looked at, which is enough for a share of them."""

_LEAST_CHROMA: Final = 32
"""Of 255, from the image's own tint, for a pixel to be coloured. A radiograph photographed from a screen, as there are
some among training images, was up to 25 away from it on most of its pixels."""


def coloured_share(image: Image.Image) -> float:
    """Return the share of an image's pixels, 0..1, that are of another colour than most of it.

    Args:
        image: Loaded, of any mode that converts to RGB.
    """
    width, height = (min(side, _SAMPLES) for side in image.size)
    sample = image.resize((width, height), Image.Resampling.NEAREST)
    if sample.has_transparency_data:
        sample = Image.alpha_composite(Image.new("RGBA", sample.size, "black"), sample.convert("RGBA"))
    return coloured_share_of_chroma(np.asarray(sample.convert("RGB").convert("YCbCr"))[..., 1:])


def coloured_share_of_chroma(chroma: NDArray[np.integer]) -> float:
    """Return the same from an image's Cb and Cr, uint8 (H, W, 2)."""
    steps = tuple(-(-side // _SAMPLES) for side in chroma.shape[:2])
    pixels = chroma[:: steps[0], :: steps[1]].reshape(-1, 2).astype(np.int16)
    tint = np.median(pixels, axis=0)
    return float((np.abs(pixels - tint).max(axis=1) > _LEAST_CHROMA).mean())
