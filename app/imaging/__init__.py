"""Bytes to network input: the one decoding and preprocessing of training and service.

Exported is what needs none of the libraries that read uploads: the service does without them. ``app.imaging.decode``
has the decoder.
"""

from app.imaging.grey import (
    ACCEPTED_FORMATS,
    RADIOGRAPH_MODALITIES,
    DecodeLimits,
    GreyImage,
    ImageFacts,
    ImageWarning,
    region_warnings,
)
from app.imaging.preprocess import (
    IMAGE_SIZE,
    PREPROCESSING_VERSIONS,
    PreprocessingVersion,
    Region,
    seen_region,
    to_network_input,
    to_square,
    to_three_channels,
    to_unit_range,
)

__all__ = [
    "ACCEPTED_FORMATS",
    "IMAGE_SIZE",
    "PREPROCESSING_VERSIONS",
    "RADIOGRAPH_MODALITIES",
    "DecodeLimits",
    "GreyImage",
    "ImageFacts",
    "ImageWarning",
    "PreprocessingVersion",
    "Region",
    "region_warnings",
    "seen_region",
    "to_network_input",
    "to_square",
    "to_three_channels",
    "to_unit_range",
]
