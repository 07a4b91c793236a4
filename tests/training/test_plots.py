from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.plots import draw_class_counts, draw_images


@pytest.mark.parametrize("count", [1, 4, 7])
def test_images_are_drawn_pixel_for_pixel(tmp_path: Path, count: int) -> None:
    squares = np.random.default_rng(count).integers(0, 256, (count, 32, 32), dtype=np.uint8)
    draw_images(squares, [i % 2 for i in range(count)], "Title", tmp_path / "grid.png")
    drawn = np.asarray(Image.open(tmp_path / "grid.png").convert("L"))
    for square in squares:
        assert _contains(drawn, square)


def test_a_dark_image_stays_dark(tmp_path: Path) -> None:
    square = np.tile(np.arange(32, dtype=np.uint8), (1, 32, 1))  # Levels 0..31 of 255.
    draw_images(square, [0], "Title", tmp_path / "grid.png")
    assert _contains(np.asarray(Image.open(tmp_path / "grid.png").convert("L")), square[0])


def test_the_larger_class_has_the_higher_bar(tmp_path: Path) -> None:
    draw_class_counts((30, 60), tmp_path / "new folder/bars.png")
    pixels = np.asarray(Image.open(tmp_path / "new folder/bars.png").convert("RGB")).astype(int)
    blue, orange = (np.abs(pixels - colour).sum(axis=2) < 10 for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)))
    assert orange.sum() == pytest.approx(2 * blue.sum(), rel=0.02)


def _contains(image: np.ndarray, part: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(image, part.shape)
    return any((window == part).all() for window in windows[windows[:, :, 0, 0] == part[0, 0]])
