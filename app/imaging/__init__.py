"""Bytes to network input: the one decoding and preprocessing of training and service."""

from app.imaging.decode import ACCEPTED_FORMATS, decode, sniff_format
from app.imaging.grey import RADIOGRAPH_MODALITIES, DecodeLimits, GreyImage, ImageFacts, ImageWarning
from app.imaging.preprocess import (
    IMAGE_SIZE,
    PREPROCESSING_VERSION,
    to_network_input,
    to_square,
    to_three_channels,
    to_unit_range,
)

__all__ = [
    "ACCEPTED_FORMATS",
    "IMAGE_SIZE",
    "PREPROCESSING_VERSION",
    "RADIOGRAPH_MODALITIES",
    "DecodeLimits",
    "GreyImage",
    "ImageFacts",
    "ImageWarning",
    "decode",
    "sniff_format",
    "to_network_input",
    "to_square",
    "to_three_channels",
    "to_unit_range",
]
