"""Grey image to network input, version 1: the one preprocessing of training and service.

A grey image is squeezed to 224x224 without keeping its aspect ratio, as the original study did, with
an antialiasing bilinear filter, and divided by 255. What a backbone's ImageNet weights want beyond
that is a layer inside the exported graph.

Golden pixel values pin this version (``tests/contract``). A change of any of them needs a new
``PREPROCESSING_VERSION``: artifacts name the version they were trained with.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREPROCESSING_VERSION = 1
IMAGE_SIZE = 224
"""Side of the network input in pixels. Source: the original study (224x224 for every backbone)."""


def to_square(grey: NDArray[np.uint8], size: int = IMAGE_SIZE) -> NDArray[np.uint8]:
    """Resize a grey image to the square that the network sees.

    Args:
        grey: Grey levels 0..255, uint8, shape (H, W), H and W at least 1.
        size: Side of the square in pixels.

    Returns:
        Grey levels 0..255, uint8, shape (size, size).
    """
    image = Image.fromarray(grey).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


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
