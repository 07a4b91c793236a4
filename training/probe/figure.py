"""One square under each alteration, as a figure: a radiograph for the owner of the data, a made-up one for others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from app.imaging import IMAGE_SIZE
from training.alterations import Alteration
from training.plots import draw_captioned

_BLACK: Final = "#000000"

_OUTLINES: Final = (
    (0.50, 0.60, 0.47, 0.62, 150.0),
    (0.30, 0.46, 0.17, 0.32, 45.0),
    (0.70, 0.46, 0.17, 0.32, 45.0),
    (0.50, 0.45, 0.07, 0.50, 190.0),
    (0.56, 0.62, 0.14, 0.14, 185.0),
)
"""Trunk, both lungs, spine, heart: centre x and y, half-width and half-height in fractions of the side, grey level."""

_MARK: Final = ((0.09, 0.10, 0.012, 0.05), (0.12, 0.14, 0.04, 0.012))
"""An L at the border, as burned in: two bars, as the outlines."""

_RIBS: Final = 9
_BLUR: Final = 0.012  # Of the side.


def draw_altered(square: NDArray[np.uint8], alterations: Mapping[str, Alteration], path: Path) -> None:
    """Draw a square, uint8 (S, S), as it is and under each alteration."""
    one = square[np.newaxis]
    shown = np.concatenate([one, *(alter(one) for alter in alterations.values())])
    captions = ["as it is", *alterations]
    draw_captioned(shown, captions, [_BLACK] * len(captions), "What the model is asked about", path)


def made_up_square(side: int = IMAGE_SIZE) -> NDArray[np.uint8]:
    """Draw what has a chest radiograph's layout and is none: trunk, lungs, heart, ribs, a mark; uint8 (S, S)."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    grey = np.full((side, side), 12.0)
    for cx, cy, rx, ry, level in _OUTLINES:
        grey[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1] = level
    ribs = np.sin(2 * np.pi * _RIBS * (y + 0.6 * (x - 0.5) ** 2)) > 0.6
    grey[ribs & (grey < 100) & (grey > 20)] += 35
    soft = gaussian_filter(grey, _BLUR * side)
    for cx, cy, rx, ry in _MARK:
        soft[(np.abs(x - cx) <= rx) & (np.abs(y - cy) <= ry)] = 235
    return np.asarray(soft, np.uint8)
