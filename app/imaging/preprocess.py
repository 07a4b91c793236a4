"""Grey image to network input: the one preprocessing of training and service, in each of its versions.

1. The whole image is squeezed to a square without keeping its aspect ratio, as the original study did.
2. The centre square is cut out, its side the image's shorter one, and resized: shapes stay as they are, and whether an
   image is square, which tells sources apart and not lungs, is no longer to be seen.

Both resize to 224x224 with an antialiasing bilinear filter and divide by 255. What a backbone's ImageNet weights want
beyond that is a layer inside the exported graph.

Golden pixel values pin each version (``tests/contract``). A change of any of them is another version: artifacts name
the one that they were trained with, and are served with it.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PreprocessingVersion: TypeAlias = Literal[1, 2]

PREPROCESSING_VERSIONS: Final[dict[int, str]] = {1: "aspect ratio not kept", 2: "centre square"}
"""What is done to an image that is no square, in a few words, by version."""

IMAGE_SIZE = 224
"""Side of the network input in pixels. Source: the original study (224x224 for every backbone)."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image, in pixels of the upright image.

    Attributes:
        left: Columns to its left.
        top: Rows above it.
        width: Its columns.
        height: Its rows.
    """

    left: int
    top: int
    width: int
    height: int


def seen_region(width: int, height: int, *, version: int) -> Region:
    """Return the part of an image that the network sees.

    Args:
        width: Columns of the upright image.
        height: Rows of the upright image.
        version: One of ``PREPROCESSING_VERSIONS``.

    Returns:
        The whole image in version 1; in version 2 the centre square: where its place is between two pixels, the left
        or upper one.

    Raises:
        ValueError: There is no such version.
    """
    if version == 1:
        return Region(0, 0, width, height)
    if version == 2:
        side = min(width, height)
        return Region((width - side) // 2, (height - side) // 2, side, side)
    raise ValueError(f"There is no preprocessing version {version}. There are {list(PREPROCESSING_VERSIONS)}.")


def to_square(grey: NDArray[np.uint8], size: int = IMAGE_SIZE, *, version: int) -> NDArray[np.uint8]:
    """Turn a grey image into the square that the network sees.

    Args:
        grey: Grey levels 0..255, uint8, shape (H, W), H and W at least 1, upright.
        size: Side of the square in pixels.
        version: One of ``PREPROCESSING_VERSIONS``: an artifact's ``preprocessing_version``, a recipe's
            ``preprocessing``.

    Returns:
        Grey levels 0..255, uint8, shape (size, size).

    Raises:
        ValueError: There is no such version.
    """
    height, width = grey.shape
    seen = seen_region(width, height, version=version)
    # Cut out before the resize, and not by its ``box``: there the filter would reach beyond the region's border.
    part = grey[seen.top : seen.top + seen.height, seen.left : seen.left + seen.width]
    return np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR))


def to_network_input(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale squares to 0..1 and repeat them over three equal channels.

    Args:
        squares: Grey levels 0..255, uint8, shape (..., S, S).

    Returns:
        Network input, float32 in 0..1, shape (..., S, S, 3), C-contiguous.
    """
    return to_three_channels(to_unit_range(squares))


def to_unit_range(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale grey levels 0..255 to float32 in 0..1, of the same shape."""
    return np.divide(squares, np.float32(255), dtype=np.float32)


def to_three_channels(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Repeat (..., S, S) over three equal channels, (..., S, S, 3), C-contiguous."""
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)
