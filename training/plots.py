"""Figures, drawn without a display and written as PNG: the same input gives the same file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.manifest import LABELS

COLOURS: Final = ("#0072B2", "#D55E00")
"""Of the classes, told apart also by the colour-blind. Source: Okabe and Ito, Color Universal Design (2008)."""

GREY: Final = "#777777"
"""Of what a figure is held against."""

_DPI: Final = 100
_LARGEST_DOT: Final = 160  # Points squared, for a bin with every image.
_COLUMNS: Final = 5
_GAP, _CAPTION, _TITLE = 12, 26, 48  # pixels
_CAPTION_SIZE, _SMALL_CAPTION_SIZE = 10, 8  # points
_SHORT_CAPTION: Final = 24
"""Letters that fit above an image of 224 pixels at the larger size; 40 fit at the smaller."""


def draw_images(squares: NDArray[np.uint8], labels: Sequence[int], title: str, path: Path) -> None:
    """Draw preprocessed images as a grid, pixel for pixel, captioned by class.

    Args:
        squares: Grey levels 0..255, uint8, shape (N, S, S).
        labels: Their classes, N indices into ``LABELS``.
        title: Of the figure.
        path: Of the PNG file.
    """
    draw_captioned(squares, [LABELS[label] for label in labels], [COLOURS[label] for label in labels], title, path)


def draw_captioned(
    squares: NDArray[np.uint8], captions: Sequence[str], colours: Sequence[str], title: str, path: Path
) -> None:
    """Draw preprocessed images as a grid, pixel for pixel.

    Args:
        squares: Grey levels 0..255, uint8, shape (N, S, S).
        captions: Above each image, one line each.
        colours: Of the captions.
        title: Of the figure.
        path: Of the PNG file.
    """
    side, columns = squares.shape[1], min(_COLUMNS, max(len(squares), 2))  # The title needs two.
    rows = -(-len(squares) // columns)
    width = columns * (side + _GAP) + _GAP
    height = rows * (side + _CAPTION) + _TITLE + _GAP
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    figure.text(_GAP / width, 1 - 0.5 * _TITLE / height, title, va="center", fontsize=11, wrap=True)
    for number, (square, caption, colour) in enumerate(zip(squares, captions, colours, strict=True)):
        row, column = divmod(number, columns)
        left = _GAP + column * (side + _GAP)
        bottom = height - _TITLE - (row + 1) * (side + _CAPTION) + _GAP // 2
        figure.figimage(np.dstack([square] * 3), left, bottom)  # As colour: a colour map would round the levels.
        middle, above = (left + side / 2) / width, (bottom + side + 4) / height
        size = _CAPTION_SIZE if len(caption) <= _SHORT_CAPTION else _SMALL_CAPTION_SIZE
        figure.text(middle, above, caption, ha="center", va="bottom", fontsize=size, color=colour)
    save(figure, path)


def draw_class_counts(counts: Sequence[int], path: Path) -> None:
    """Draw the number of images of each class as bars.

    Args:
        counts: In the order of ``LABELS``.
        path: Of the PNG file.
    """
    total = sum(counts)
    figure = Figure(figsize=(5, 4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    bars = axes.bar(LABELS, counts, color=COLOURS, width=0.6)
    axes.bar_label(bars, [f"{count:,} ({count / total:.1%})" for count in counts], padding=3)
    axes.set_title(f"Images a class, {total:,} in all")
    axes.set_ylabel("images")
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def draw_reliability(bins: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw reliability diagrams, one a part of the data.

    Args:
        bins: By the part's name, as ``breakdown.reliability`` gives them.
        path: Of the PNG file.
    """
    figure = Figure(figsize=(3.6 * len(bins), 3.8), dpi=_DPI, layout="constrained")
    for axes, (part, of) in zip(figure.subplots(1, len(bins), squeeze=False)[0], bins.items(), strict=True):
        draw_bins(axes, of)
        axes.set_title(part, fontsize=10)
        axes.set_xlabel("probability of COVID-19", fontsize=9)
        axes.set_ylabel("share that is COVID-19, with 95 % interval", fontsize=9)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def draw_bins(axes: Axes, bins: Sequence[Mapping[str, Any]]) -> None:
    """Draw one reliability diagram: the diagonal is calibrated, larger dots hold more images.

    Args:
        axes: To draw into.
        bins: As ``breakdown.reliability`` gives them.
    """
    means, shares = [of["mean_probability"] for of in bins], [of["share"]["value"] for of in bins]
    total = sum(of["images"] for of in bins)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    axes.vlines(means, [of["share"]["low"] for of in bins], [of["share"]["high"] for of in bins], COLOURS[0], alpha=0.5)
    axes.plot(means, shares, color=COLOURS[0], linewidth=1)
    sizes = [max(_LARGEST_DOT * of["images"] / total, 8) for of in bins]
    axes.scatter(means, shares, s=sizes, color=COLOURS[0], zorder=3)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; makes the folder if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
