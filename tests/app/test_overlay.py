"""The heatmap over the image."""

import io

import numpy as np
from PIL import Image

from app.overlay import overlay_png, preview_png


def draw(grey: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    with Image.open(io.BytesIO(overlay_png(grey, heatmap.astype(np.float32)))) as image:
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


def test_values_out_of_range_do_no_harm() -> None:
    assert draw(np.zeros((8, 8), np.uint8), np.array([[-1.0, 2.0], [0.5, 1.0]])).shape == (8, 8, 3)


def test_preview_is_reduced_and_never_enlarged() -> None:
    for shape, expected in (((600, 1200), (512, 256)), ((30, 20), (20, 30))):
        with Image.open(io.BytesIO(preview_png(np.full(shape, 77, np.uint8)))) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", expected)
            assert image.getextrema() == (77, 77)
