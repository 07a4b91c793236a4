"""Grey image to network input."""

import numpy as np
import pytest
from PIL import Image

from app.imaging import IMAGE_SIZE, to_network_input, to_square
from app.imaging.grey import map_levels, scale_to_uint8
from tests.images import radiograph


@pytest.mark.parametrize("shape", [(224, 224), (300, 260), (90, 700), (1, 1), (1, 5000)])
def test_a_square_has_the_networks_size_whatever_the_shape(shape):
    square = to_square(radiograph(*shape))
    assert (square.shape, square.dtype) == ((IMAGE_SIZE, IMAGE_SIZE), np.uint8)


def test_an_image_of_the_networks_size_is_not_resampled():
    grey = radiograph(224, 224)
    assert np.array_equal(to_square(grey), grey)


def test_the_resize_is_antialiased():
    checkerboard = np.indices((896, 896)).sum(axis=0) % 2 * np.uint8(255)
    assert np.abs(to_square(checkerboard.astype(np.uint8)).astype(int) - 128).max() <= 1


def test_the_aspect_ratio_is_not_kept():
    halves = np.repeat(np.array([[0], [255]], np.uint8), 100, axis=0).repeat(50, axis=1)
    square = to_square(halves)
    assert not square[:100].any()
    assert (square[124:] == 255).all()


def test_the_resize_is_pillows():
    grey = radiograph(300, 260)
    assert np.array_equal(to_square(grey), Image.fromarray(grey).resize((224, 224), Image.Resampling.BILINEAR))


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
