"""Random changes of a training image that keep its anatomy plausible.

Deterministic in (seed, epoch, image), so that a run can be resumed and repeated whatever the order
in which workers ask for images.
"""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.config import Augmentation

_JPEG_QUALITIES: Final = (25, 90)
"""From visible blocks to hardly a trace: collections of cases hold both."""

_CHEST_HALF_WIDTHS: Final = (0.38, 0.46)
_CHEST_HALF_HEIGHTS: Final = (0.36, 0.46)
_CHEST_MIDDLE: Final = 0.46
"""Of an ellipse about the lungs, as fractions of the side. Source: where ``training.alterations.LUNGS`` lie."""
_CHEST_EDGE: Final = 0.15
"""Width of the ellipse's edge as a fraction of its radius."""


def augment(square: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change one square at random.

    Args:
        square: Grey levels 0..255, uint8, shape (S, S).
        settings: How far each change may go.
        rng: Drawn from in a fixed order.

    Returns:
        Grey levels 0..255, uint8, shape (S, S).
    """
    moved = _move(square, settings, rng)
    toned = _change_tones(moved, settings, rng)
    degraded = _degrade(toned, settings, rng)
    return _erase(degraded, settings, rng)


def swap_background(square: NDArray[np.uint8], other: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Put the chest of one image before the background of another, so that no background goes with a class.

    The chest is an ellipse about the middle, of random size, with a soft edge: no segmentation is at hand.
    Source of the idea: "Mixed-Rand" of arXiv:2006.09994.

    Args:
        square: Whose chest is kept, grey levels 0..255, uint8, shape (S, S).
        other: Whose background is taken, alike.
        rng: Drawn from in a fixed order.

    Returns:
        Grey levels 0..255, uint8, shape (S, S).
    """
    middles = (np.arange(square.shape[0]) + 0.5) / square.shape[0]
    half_width, half_height = rng.uniform(*_CHEST_HALF_WIDTHS), rng.uniform(*_CHEST_HALF_HEIGHTS)
    x, y = (middles - 0.5) / half_width, (middles - _CHEST_MIDDLE) / half_height
    beyond = np.hypot(x[np.newaxis], y[:, np.newaxis]) - 1
    chest = np.clip(0.5 - beyond / _CHEST_EDGE, 0, 1)
    swapped: NDArray[np.uint8] = np.rint(chest * square + (1 - chest) * other).astype(np.uint8)
    return swapped


def _move(square: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Rotate, zoom, stretch, shift and mirror about the centre; what comes from outside is black."""
    angle = np.deg2rad(rng.uniform(-1, 1) * settings.rotation_degrees)
    zoom = np.exp(rng.uniform(-1, 1) * np.log1p(settings.zoom))
    stretch = np.exp(rng.uniform(-1, 1) * np.log1p(settings.stretch))
    size = square.shape[0]
    shift = rng.uniform(-1, 1, 2) * settings.shift * size
    mirror = -1.0 if rng.random() < settings.mirror_probability else 1.0
    # PIL asks for the map from output to input coordinates.
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[mirror * cos * stretch, -sin * stretch], [mirror * sin / stretch, cos / stretch]]) / zoom
    centre = np.array([size / 2, size / 2])
    offset = centre + shift - matrix @ centre
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    image = Image.fromarray(square)
    return np.asarray(image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))


def _change_tones(square: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change gamma, contrast about the mean, and brightness, through a table of the 256 levels."""
    gamma = np.exp(rng.uniform(-1, 1) * np.log1p(settings.gamma))
    contrast = 1 + rng.uniform(-1, 1) * settings.contrast
    brightness = rng.uniform(-1, 1) * settings.brightness
    levels = np.linspace(0, 1, 256) ** gamma
    mean = levels.take(square).mean()  # Three times as fast as an index, with the same result.
    table = (levels - mean) * contrast + mean + brightness
    toned: NDArray[np.uint8] = np.rint(np.clip(table, 0, 1) * 255).astype(np.uint8).take(square)
    return toned


def _degrade(square: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change what tells where an image was published: resolution, traces of a JPEG, distribution of grey levels."""
    image = Image.fromarray(square)
    if settings.coarsening:
        side = max(1, round(image.width * (1 - rng.random() * settings.coarsening)))
        image = image.resize((side, side), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)
    if settings.compression_probability and rng.random() < settings.compression_probability:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(*_JPEG_QUALITIES, endpoint=True)))
        image = Image.open(file)
    if settings.equalization:
        image = Image.blend(image, ImageOps.equalize(image), rng.random() * settings.equalization)
    return np.array(image)


def _erase(square: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cover rectangles with a random grey, so that no single mark decides. Source: arXiv:1708.04896."""
    size = square.shape[0]
    for _ in range(settings.erasures):
        height, width = (rng.uniform(0.05, settings.erasure_side, 2) * size).astype(int)
        top, left = int(rng.uniform(0, size - height)), int(rng.uniform(0, size - width))
        level = rng.integers(0, 256)
        if rng.random() < settings.erasure_probability:
            square[top : top + height, left : left + width] = level
    return square
