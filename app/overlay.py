"""The decoded image to look at: with the heatmap over it for ``POST /explain``, small for a preview."""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.imaging import Region

LONGEST_SIDE: Final = 1024
"""Larger images are reduced to this: the heatmap has some 7 x 7 cells, more pixels show no more."""

PREVIEW_SIDE: Final = 512
"""Longest side of a preview: enough to recognise an image by."""

_OPACITY: Final = 0.6

_COMPRESS_LEVEL: Final = 1
"""Of PNG, 0 to 9: with Pillow's default of 6 the file was 8 % smaller and took five times as long."""


def preview_of(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce a grey image, uint8 (H, W), to a longest side of at most 1024 pixels with its aspect ratio."""
    image = Image.fromarray(grey)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(image)


def overlay_png(preview: NDArray[np.uint8], heatmap: NDArray[np.float32], seen: Region, size: tuple[int, int]) -> bytes:
    """Draw a heatmap over the part of a grey image that the network saw, from transparent through red to yellow.

    Args:
        preview: Grey levels, uint8 (H, W).
        heatmap: float32 (h, w) in 0..1.
        seen: What the heatmap is of, in pixels of the image that the preview was made of.
        size: That image's width and height.

    Returns:
        A PNG, RGB, of the preview's size.
    """
    image = Image.fromarray(preview)
    cells = Image.fromarray(np.rint(np.clip(heatmap, 0, 1) * 255).astype(np.uint8))
    left, right = _span(seen.left, seen.width, size[0], image.width)
    top, bottom = _span(seen.top, seen.height, size[1], image.height)
    heat = Image.new("L", image.size)  # Cold, so without colour, where the network saw nothing.
    heat.paste(cells.resize((right - left, bottom - top), Image.Resampling.BICUBIC), (left, top))
    colours = ImageOps.colorize(heat, black="black", mid="red", white="yellow")
    opacity = heat.point(lambda level: level * _OPACITY)
    return _png(Image.composite(colours, image.convert("RGB"), opacity))


def _span(start: int, length: int, whole: int, pixels: int) -> tuple[int, int]:
    """Find a stretch of an image's side in the preview's, which has so many pixels for the whole.

    Returns:
        Its first pixel and the one behind its last, each rounded, halves up; at least one pixel.
    """
    first, behind = ((2 * at * pixels + whole) // (2 * whole) for at in (start, start + length))
    first = min(first, pixels - 1)
    return first, max(behind, first + 1)


def preview_png(preview: NDArray[np.uint8]) -> bytes:
    """Reduce a preview, uint8 (H, W), to a longest side of at most 512 pixels.

    Returns:
        A PNG, grey.
    """
    image = Image.fromarray(preview)
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return _png(image)


def _png(image: Image.Image) -> bytes:
    with io.BytesIO() as file:
        image.save(file, "PNG", compress_level=_COMPRESS_LEVEL)
        return file.getvalue()
