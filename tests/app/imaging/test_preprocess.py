"""Grey image to network input."""

from typing import get_args

import numpy as np
import pytest
from PIL import Image

from app.imaging import (
    IMAGE_SIZE,
    PREPROCESSING_VERSIONS,
    PreprocessingVersion,
    Region,
    region_warnings,
    seen_region,
    to_network_input,
    to_square,
)
from app.imaging.grey import map_levels, scale_to_uint8
from tests.images import radiograph

VERSIONS = pytest.mark.parametrize("version", PREPROCESSING_VERSIONS)


@VERSIONS
@pytest.mark.parametrize("shape", [(224, 224), (300, 260), (90, 700), (1, 1), (1, 5000)])
def test_a_square_has_the_networks_size_whatever_the_shape(shape, version):
    square = to_square(radiograph(*shape), version=version)
    assert (square.shape, square.dtype) == ((IMAGE_SIZE, IMAGE_SIZE), np.uint8)


@VERSIONS
def test_an_image_of_the_networks_size_is_not_resampled(version):
    grey = radiograph(224, 224)
    assert np.array_equal(to_square(grey, version=version), grey)


@VERSIONS
def test_the_resize_is_antialiased(version):
    checkerboard = np.indices((896, 896)).sum(axis=0) % 2 * np.uint8(255)
    assert np.abs(to_square(checkerboard.astype(np.uint8), version=version).astype(int) - 128).max() <= 1


def test_version_1_does_not_keep_the_aspect_ratio():
    halves = np.repeat(np.array([[0], [255]], np.uint8), 100, axis=0).repeat(50, axis=1)
    square = to_square(halves, version=1)
    assert not square[:100].any()
    assert (square[124:] == 255).all()


def test_version_2_keeps_the_aspect_ratio():
    y, x = np.mgrid[:300, :900]
    disc = (255 * (np.hypot(y - 149.5, x - 449.5) < 100)).astype(np.uint8)
    square = to_square(disc, version=2) > 127
    assert square.any(axis=0).sum() == square.any(axis=1).sum() == pytest.approx(200 * 224 / 300, abs=1)


def test_the_resize_is_pillows():
    grey = radiograph(300, 260)
    assert np.array_equal(
        to_square(grey, version=1), Image.fromarray(grey).resize((224, 224), Image.Resampling.BILINEAR)
    )


@pytest.mark.parametrize(
    ("width", "height", "seen"),
    [
        (200, 300, Region(0, 50, 200, 200)),
        (300, 200, Region(50, 0, 200, 200)),
        (200, 301, Region(0, 50, 200, 200)),  # 50 rows above, 51 below
        (301, 200, Region(50, 0, 200, 200)),
        (224, 224, Region(0, 0, 224, 224)),
        (1, 2, Region(0, 0, 1, 1)),
        (1, 1, Region(0, 0, 1, 1)),
        (5000, 1, Region(2499, 0, 1, 1)),
    ],
)
def test_version_2_sees_the_centre_square_and_version_1_the_whole(width, height, seen):
    assert seen_region(width, height, version=2) == seen
    assert seen_region(width, height, version=1) == Region(0, 0, width, height)


@pytest.mark.parametrize("version", [0, 3, None])
def test_there_is_no_other_version(version):
    with pytest.raises(ValueError, match=rf"no preprocessing version {version}.*\[1, 2\]"):
        to_square(radiograph(), version=version)


def test_the_versions_a_recipe_may_name_are_those_there_are():
    assert get_args(PreprocessingVersion) == tuple(PREPROCESSING_VERSIONS)


@pytest.mark.parametrize(
    ("width", "height", "version", "is_warned_about"),
    [
        (300, 200, 2, False),  # exactly two thirds
        (301, 200, 2, True),
        (200, 301, 2, True),
        (200, 200, 2, False),
        (2000, 100, 1, False),
    ],
)
def test_a_long_image_is_warned_about_where_only_its_centre_is_seen(width, height, version, is_warned_about):
    warnings = region_warnings(width, height, seen_region(width, height, version=version))
    assert [warning.code for warning in warnings] == ["centre_square_only"] * is_warned_about
    for warning in warnings:
        assert f"{width} x {height} pixels" in warning.message
        assert "200 x 200" in warning.message


@pytest.mark.parametrize("batch", [(), (3,)])
def test_the_network_input_is_three_equal_channels_in_0_to_1(batch):
    squares = np.broadcast_to(np.array([[0, 51], [102, 255]], np.uint8), (*batch, 2, 2))
    network_input = to_network_input(squares)
    assert network_input.shape == (*batch, 2, 2, 3)
    assert network_input.dtype == np.float32
    assert network_input.flags.c_contiguous
    for channel in np.moveaxis(network_input, -1, 0):
        assert np.array_equal(channel, squares.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2", "<i4", ">u4", "f4"])
def test_scaling_is_the_same_for_every_dtype(dtype):
    samples = np.arange(-60, 68).reshape(8, 16)
    samples = (samples if "u" not in dtype else samples + 60).astype(dtype)
    assert np.array_equal(scale_to_uint8(samples), np.rint(np.arange(128) / 127 * 255).reshape(8, 16))


def test_levels_are_mapped_alike_by_table_and_by_block():
    samples = np.random.default_rng(0).integers(-3000, 3000, (700, 800))  # more than one block

    def mapping(levels):
        return (levels % 251).astype(np.uint8)

    expected = mapping(samples)
    assert np.array_equal(map_levels(samples.astype(np.int16), mapping), expected)
    assert np.array_equal(map_levels(samples, mapping), expected)
    assert np.array_equal(map_levels(samples.astype(np.int16).T, mapping), expected.T)
