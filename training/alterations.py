"""Images altered so that they lack something: what a model still answers then, it does not take from that.

Every alteration takes and returns squares, uint8 (N, S, S), and changes none of those it is given. What is covered is
filled with the mean of what is not, image by image, so that the fill tells nothing of what it covers.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Squares = NDArray[np.uint8]
Alteration = Callable[[Squares], Squares]

LUNGS: Final = ((0.28, 0.48, 0.26, 0.44), (0.72, 0.48, 0.26, 0.44))
"""Ellipses that cover the lungs of a frontal radiograph squeezed to a square: centre x and y, half-width and
half-height, as fractions of the side.

Source: in the mean of 1,078 training images, and of those of each source, the lungs are the dark fields between 0.12
and 0.90 of the width and 0.08 and 0.80 of the height. The ellipses were widened until they held the lungs of single
images cropped close to them. Outer lower corners of the lungs are left in a few, and in more where a wide image lost
its sides to the centre square (preprocessing version 2). 30 % of the square stays: shoulders, neck, flanks, the
abdomen, and what is burned in at the corners."""

CENTRE: Final = 0.7
"""Side of the centre square as a fraction of the image's."""

WITHOUT_BORDERS: Final = 0.84
"""Side of the square that leaves the borders, as a fraction of the image's: lungs of most images that are cropped
close reach to 0.08 of the width, those of centre squares at times to the edge. 29 % of the square stays, as much as
beside the ellipses."""

LOW_RESOLUTION: Final = 16
"""Pixels a side: outlines and exposure are left, and no texture of a lung."""

LEVELS: Final = 256


def cover_lungs(squares: Squares) -> Squares:
    """Cover where the lungs lie: two ellipses, the same for every image, since no segmentation is at hand."""
    y, x = _positions(squares.shape[1])
    inside = [((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1 for cx, cy, rx, ry in LUNGS]
    return _cover(squares, np.any(inside, axis=0))


def keep_borders(squares: Squares) -> Squares:
    """Cover all but a narrow border."""
    return _cover(squares, _inner(squares.shape[1], WITHOUT_BORDERS))


def keep_centre(squares: Squares) -> Squares:
    """Cover what lies outside the centre square."""
    return _cover(squares, ~_inner(squares.shape[1], CENTRE))


def lower_resolution(squares: Squares) -> Squares:
    """Scale down to 16 x 16 pixels, each the mean of what it stands for, and back, smoothly."""
    small = (LOW_RESOLUTION, LOW_RESOLUTION)
    return np.stack(
        [
            np.asarray(
                Image.fromarray(square)
                .resize(small, Image.Resampling.BOX)
                .resize(square.shape, Image.Resampling.BILINEAR)
            )
            for square in squares
        ]
    )


def mirror(squares: Squares) -> Squares:
    """Swap left and right."""
    return squares[:, :, ::-1].copy()


def grey_levels(squares: Squares) -> NDArray[np.int64]:
    """Count the pixels of each grey level over all squares, (256,)."""
    return np.bincount(squares.ravel(), minlength=LEVELS)


def match_grey_levels(squares: Squares, wanted: NDArray[np.int64]) -> Squares:
    """Give every image the same histogram, and so the same brightness and contrast, keeping the order of its levels.

    Args:
        squares: Grey levels, uint8 (N, S, S).
        wanted: The histogram, of any number of pixels, (256,).
    """
    there = np.flatnonzero(wanted)
    reached = wanted[there].cumsum() / wanted.sum()  # Rises from level to level, as interpolation needs it.
    matched = [np.interp(grey_levels(square).cumsum() / square.size, reached, there) for square in squares]
    return np.stack([np.rint(of).astype(np.uint8)[square] for of, square in zip(matched, squares, strict=True)])


def _positions(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return y (S, 1) and x (1, S) of the pixels' middles, as fractions of the side."""
    middles = (np.arange(side) + 0.5) / side
    return middles[:, np.newaxis], middles[np.newaxis]


def _inner(side: int, fraction: float) -> NDArray[np.bool_]:
    """Return where the square of a fraction of the side lies in the middle, (S, S)."""
    y, x = _positions(side)
    return np.maximum(np.abs(y - 0.5), np.abs(x - 0.5)) <= fraction / 2


def _cover(squares: Squares, covered: NDArray[np.bool_]) -> Squares:
    altered = squares.copy()
    altered[:, covered] = np.rint(squares[:, ~covered].mean(axis=1, keepdims=True)).astype(np.uint8)
    return altered
