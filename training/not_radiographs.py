"""Images that are no radiographs, made in code: what the input gate is fitted to refuse.

None of them is ever used to measure it; ``training.negatives`` gathers those that are.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from app.imaging import IMAGE_SIZE

Grey: TypeAlias = NDArray[np.uint8]
"""Grey levels, uint8, of the network's square."""

_SIDE: Final = IMAGE_SIZE
_LETTERS: Final = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;-"))


def make_not_radiographs(squares: NDArray[np.uint8], count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Make images that are no frontal chest radiographs, the kinds in turn.

    Args:
        squares: Radiographs to make some of them from: cut up, enlarged, several on a page. uint8 (N, 224, 224).
        count: How many to make.
        rng: Source of all randomness.

    Returns:
        Grey levels, uint8, shape (count, 224, 224).
    """
    kinds: list[Callable[[], Grey]] = [lambda make=make: make(rng) for make in MADE_UP.values()]  # type: ignore[misc]
    kinds += [lambda make=make: make(squares, rng) for make in OF_RADIOGRAPHS.values()]  # type: ignore[misc]
    made = [kinds[index % len(kinds)]() for index in range(count)]
    return np.stack([_vary(image, rng) for image in made])


def _vary(image: Grey, rng: np.random.Generator) -> Grey:
    """Turn, mirror or invert: what an image is not, it is in no position."""
    image = np.rot90(image, int(rng.integers(4)))
    if rng.random() < 0.5:
        image = image[:, ::-1]
    return 255 - image if rng.random() < 0.5 else image


def _noise(rng: np.random.Generator) -> Grey:
    """Noise of one grain."""
    grain = rng.choice([0, 0.5, 1, 2, 4, 8, 16, 32])
    return _spread(gaussian_filter(rng.standard_normal((_SIDE, _SIDE)), grain, mode="wrap"), rng)


def _clouds(rng: np.random.Generator) -> Grey:
    """Noise of all grains, with the falling spectrum that photographs have."""
    frequencies = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None])
    frequencies[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((_SIDE, _SIDE))) / frequencies ** rng.uniform(0.5, 2)
    return _spread(np.fft.irfft2(spectrum, (_SIDE, _SIDE)), rng)


def _gradient(rng: np.random.Generator) -> Grey:
    """Grey levels that rise along a line, or away from a point."""
    y, x = _grid()
    angle, centre = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5, 2)
    along = x * np.cos(angle) + y * np.sin(angle)
    away = np.hypot(x - centre[0], y - centre[1]) ** rng.uniform(0.5, 2)
    return _spread(along if rng.random() < 0.5 else away, rng)


def _stripes(rng: np.random.Generator) -> Grey:
    """Stripes or checks, soft or hard."""
    y, x = _grid()
    angle, period = rng.uniform(0, np.pi), np.pi * rng.uniform(1, 30)
    across = np.sin(period * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6))
    if rng.random() < 0.5:
        across *= np.sin(period * (y * np.cos(angle) - x * np.sin(angle)))
    return _spread(np.tanh(across * rng.choice([0.5, 20])), rng)


def _text(rng: np.random.Generator) -> Grey:
    """Lines of random words."""
    page = Image.new("L", (_SIDE, _SIDE), int(rng.integers(180, 256)))
    draw, size = ImageDraw.Draw(page), int(rng.integers(8, 40))
    font, y, left = ImageFont.load_default(size), int(rng.integers(0, 30)), int(rng.integers(0, 60))
    while y < _SIDE:
        words = ("".join(rng.choice(_LETTERS, rng.integers(1, 10))) for _ in range(rng.integers(1, 10)))
        draw.text((left, y), " ".join(words), fill=int(rng.integers(0, 80)), font=font)
        y += int(size * rng.uniform(1.1, 2))
    return np.asarray(page)


def _leaves(rng: np.random.Generator) -> Grey:
    """Discs that cover each other, as things in photographs do (dead leaves model)."""
    return _cover(rng, "ellipse", 400)


def _blocks(rng: np.random.Generator) -> Grey:
    """Rectangles that cover each other, as in plans, windows and screens."""
    return _cover(rng, "rectangle", 60)


def _cover(rng: np.random.Generator, shape: str, most: int) -> Grey:
    image = Image.new("L", (_SIDE, _SIDE), int(rng.integers(256)))
    draw = getattr(ImageDraw.Draw(image), shape)
    for _ in range(rng.integers(1, most)):
        x, y = rng.uniform(0, _SIDE, 2)
        width = height = min(4 / rng.uniform(0.01, 1), _SIDE / 2)
        if shape == "rectangle" or rng.random() < 0.3:
            height *= rng.uniform(0.2, 5)
        draw((x - width, y - height, x + width, y + height), fill=int(rng.integers(256)))
    return np.asarray(image)


def _lone(rng: np.random.Generator) -> Grey:
    """One bright thing in the dark, as CT and MR sections and objects on a table are."""
    y, x = _grid()
    centre, (wide, high) = rng.uniform(-0.2, 0.2, 2), rng.uniform(0.3, 0.9, 2)
    angle = np.arctan2(y - centre[1], x - centre[0])
    lobes = sum(rng.normal(0, 0.08) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 7))
    inside = np.hypot((x - centre[0]) / wide, (y - centre[1]) / high) < 1 + lobes
    texture = gaussian_filter(rng.standard_normal((_SIDE, _SIDE)), rng.uniform(2, 20))
    texture = 0.6 + 0.25 * texture / texture.std()
    return _spread(np.where(inside, np.clip(texture, 0.1, 1), 0), rng)


def _tiles(squares: NDArray[np.uint8], rng: np.random.Generator) -> Grey:
    """A radiograph whose parts have changed their places."""
    square, parts = _pick(squares, rng), int(rng.choice([2, 4, 7]))
    side = _SIDE // parts
    tiles = square.reshape(parts, side, parts, side).swapaxes(1, 2).reshape(-1, side, side)
    order = rng.permutation(len(tiles))
    return tiles[order].reshape(parts, parts, side, side).swapaxes(1, 2).reshape(_SIDE, _SIDE)


def _detail(squares: NDArray[np.uint8], rng: np.random.Generator) -> Grey:
    """A small part of a radiograph, enlarged."""
    side = int(_SIDE * rng.uniform(0.1, 0.35))
    top, left = rng.integers(0, _SIDE - side, 2)
    part = Image.fromarray(_pick(squares, rng)[top : top + side, left : left + side])
    return np.asarray(part.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def _figure(squares: NDArray[np.uint8], rng: np.random.Generator) -> Grey:
    """Several radiographs on a page, as in a publication."""
    page = Image.new("L", (_SIDE, _SIDE), int(rng.choice([0, 255])))
    rows, columns = rng.integers(1, 4, 2)
    columns = max(columns, 2) if rows == 1 else columns
    gap = int(rng.integers(0, 8))
    width, height = _SIDE // columns - gap, _SIDE // rows - gap
    for row in range(rows):
        for column in range(columns):
            panel = Image.fromarray(_pick(squares, rng)).resize((width, height))
            page.paste(panel, (column * (width + gap), row * (height + gap)))
    return np.asarray(page)


def _pick(squares: NDArray[np.uint8], rng: np.random.Generator) -> Grey:
    square: Grey = squares[rng.integers(len(squares))]
    return square


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    return y, x


def _spread(values: NDArray[np.floating], rng: np.random.Generator) -> Grey:
    """Scale to a random range of grey levels, not too narrow."""
    low, high = rng.uniform(0, 90), rng.uniform(140, 255)
    span = values.max() - values.min() or 1.0
    levels: Grey = np.rint(low + (values - values.min()) / span * (high - low)).astype(np.uint8)
    return levels


MADE_UP: Final[dict[str, Callable[[np.random.Generator], Grey]]] = {
    "noise": _noise,
    "clouds": _clouds,
    "gradient": _gradient,
    "stripes": _stripes,
    "text": _text,
    "leaves": _leaves,
    "blocks": _blocks,
    "lone": _lone,
}
OF_RADIOGRAPHS: Final[dict[str, Callable[[NDArray[np.uint8], np.random.Generator], Grey]]] = {
    "tiles": _tiles,
    "detail": _detail,
    "figure": _figure,
}
