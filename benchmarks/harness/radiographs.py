"""What is sent: several different radiographs, made in code."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tests.images import encode, radiograph

ImageFormat = Literal["jpeg", "png"]

_COUNT: Final = 8
_JPEG_QUALITY: Final = 92
"""Gives about 150 to 230 kB at 1024 pixels."""


@dataclass(frozen=True)
class Radiographs:
    """Encoded images that differ in anatomy, noise and exposure, so that their probabilities differ too.

    Attributes:
        files: The bytes of each.
        description: For people.
    """

    files: tuple[bytes, ...]
    description: str


def make_radiographs(image_format: ImageFormat, size: int) -> Radiographs:
    """Draw and encode.

    Args:
        image_format: "jpeg" or "png", 8 bits, grey.
        size: Width and height in pixels.
    """
    options = {"quality": _JPEG_QUALITY} if image_format == "jpeg" else {}
    files = []
    for seed, exposure in enumerate(np.linspace(0.7, 1.15, _COUNT)):
        grey = np.clip(radiograph(size, size, seed) * exposure, 0, 255).astype(np.uint8)
        files.append(encode(grey, image_format.upper(), **options))
    kilobytes = sorted(len(file) / 1000 for file in files)
    return Radiographs(
        tuple(files),
        f"{_COUNT} {image_format.upper()} of {size} x {size}, {kilobytes[0]:.0f} to {kilobytes[-1]:.0f} kB",
    )
