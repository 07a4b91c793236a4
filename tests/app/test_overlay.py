"""The heatmap over the image."""

import io

import numpy as np
import pytest
from PIL import Image

from app.imaging import Region, seen_region
from app.overlay import overlay_png, preview_of, preview_png


def draw(
    grey: np.ndarray, heatmap: np.ndarray, seen: Region | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Draw over all of the image, unless a part is given, in pixels of an image of ``size``."""
    width, height = size or (grey.shape[1], grey.shape[0])
    seen = seen or Region(0, 0, width, height)
    with Image.open(io.BytesIO(overlay_png(grey, heatmap.astype(np.float32), seen, (width, height)))) as image:
        return np.asarray(image)


def test_cold_places_show_the_image_as_it_is() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(draw(grey, np.zeros((7, 7))), np.dstack([grey] * 3))


def test_hot_places_turn_yellow() -> None:
    heatmap = np.zeros((7, 7))
    heatmap[0, 0] = 1
    pixels = draw(np.full((140, 140), 100, np.uint8), heatmap)
    red, green, blue = pixels[5, 5].tolist()
    assert red > 150
    assert green > 100
    assert blue < 100
    assert pixels[-1, -1].tolist() == [100, 100, 100]


@pytest.mark.parametrize(
    ("width", "height", "shown", "coloured"),
    [
        (90, 60, (90, 60), (15, 0, 75, 60)),
        (60, 90, (60, 90), (0, 15, 60, 75)),
        (61, 90, (61, 90), (0, 14, 61, 75)),  # 14 rows above, 15 below
        (3000, 2000, (1024, 683), (171, 0, 853, 683)),  # reduced: 500 and 2,500 of 3,000 columns
        (2000, 3001, (682, 1024), (0, 171, 682, 853)),
        (5000, 1, (1024, 1), (512, 0, 513, 1)),  # less than a pixel of what is shown
        (1, 5000, (1, 1024), (0, 512, 1, 513)),
    ],
)
def test_the_centre_square_alone_is_coloured(
    width: int, height: int, shown: tuple[int, int], coloured: tuple[int, int, int, int]
) -> None:
    preview = preview_of(np.full((height, width), 100, np.uint8))
    pixels = draw(preview, np.ones((7, 7)), seen_region(width, height, version=2), (width, height))
    assert (pixels.shape[1], pixels.shape[0]) == shown
    in_colour = np.ptp(pixels, axis=2) > 0
    columns, rows = np.flatnonzero(in_colour.any(axis=0)), np.flatnonzero(in_colour.any(axis=1))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == coloured
    assert in_colour.sum() == len(columns) * len(rows)
    assert (pixels[~in_colour] == 100).all()


def test_the_heatmap_has_its_place_in_the_centre_square() -> None:
    heatmap = np.zeros((7, 7))
    heatmap[0, 6] = 1  # the upper right
    pixels = draw(np.full((70, 210), 100, np.uint8), heatmap, Region(70, 0, 70, 70))
    red, _, blue = np.moveaxis(pixels.astype(int), -1, 0)
    y, x = np.nonzero(red - blue > 100)
    assert 120 <= x.min() < x.max() < 140
    assert y.max() < 20


def test_values_out_of_range_do_no_harm() -> None:
    assert draw(np.zeros((8, 8), np.uint8), np.array([[-1.0, 2.0], [0.5, 1.0]])).shape == (8, 8, 3)


def test_preview_is_reduced_and_never_enlarged() -> None:
    for shape, expected in (((600, 1200), (512, 256)), ((30, 20), (20, 30))):
        with Image.open(io.BytesIO(preview_png(np.full(shape, 77, np.uint8)))) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", expected)
            assert image.getextrema() == (77, 77)
