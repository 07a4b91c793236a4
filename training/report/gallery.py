"""The images of a report, for the owner of the data alone: answers to random images, and where the winner looked."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.manifest import LABELS, POSITIVE, Record
from training.measures import part_images
from training.plots import draw_captioned, save
from training.report.figures import Drawn
from training.results import Answers, Look, TrainedModel

FILES: Final = ("predictions.png", "grad_cam.png")
"""What the files are called; they show patients."""

RANDOM_IMAGES: Final = 25
"""Source: the original study showed as many, captioned alike."""

SEED: Final = 7
"""Of the choice of images. Source: the original study's."""

CASES: Final = 4
"""Right ones, and as many wrong ones at most, that are shown with their heatmaps."""

RIGHT, WRONG = "#1B7837", "#C0002B"  # green, red

_DPI: Final = 110
_STRONGEST: Final = 0.6  # Opacity where the heatmap is 1.


@dataclass(frozen=True, slots=True)
class Case:
    """An answer that is shown with its heatmap.

    Attributes:
        index: Of the image in its part, from 0.
        record: The image.
        probability: Of COVID-19.
        predicted: Index into ``LABELS``.
    """

    index: int
    record: Record
    probability: float
    predicted: int

    @property
    def right(self) -> bool:
        """Tell whether the answer is right."""
        return self.predicted == self.record.label


@dataclass(frozen=True, slots=True)
class Gallery:
    """What was drawn."""

    predictions: Drawn
    grad_cam: Drawn
    cases: tuple[Case, ...]


def draw_gallery(winner: TrainedModel, part: str, look: Look, folder: Path) -> Gallery:
    """Draw the winner's answers to random images, and heatmaps of some right and its worst wrong answers.

    Args:
        winner: With answers for the part.
        part: Its name.
        look: Makes squares and heatmaps.
        folder: Of the PNG files.
    """
    answered = _cases(winner.parts[part], winner.threshold)
    shown = _at_random(answered)
    squares, _ = look([case.record for case in shown])
    captions = [f"I={case.index} | P={LABELS[case.predicted]} | L={LABELS[case.record.label]}" for case in shown]
    colours = [RIGHT if case.right else WRONG for case in shown]
    what = f"{len(shown)} random {part_images(part)}. I: index, P: answer, L: label; green: right, red: wrong"
    draw_captioned(squares, captions, colours, what, folder / FILES[0])
    cases = choose_cases(answered)
    _draw_heatmaps(cases, *look([case.record for case in cases]), folder / FILES[1])
    heatmaps = "Images beside their Grad-CAM of COVID-19: what spoke for it, scaled to each image's largest."
    return Gallery(Drawn(FILES[0], f"{what}."), Drawn(FILES[1], heatmaps), tuple(cases))


def choose_cases(answered: list[Case]) -> list[Case]:
    """Choose some right answers at random, of both classes in turns, and the wrong ones furthest from their label."""
    shuffled = [answered[i] for i in np.random.default_rng(SEED).permutation(len(answered))]
    right = [[case for case in shuffled if case.right and case.record.label == label] for label in range(len(LABELS))]
    in_turns = [case for turn in zip_longest(*right) for case in turn if case]
    wrong = sorted((case for case in answered if not case.right), key=_distance, reverse=True)
    return in_turns[:CASES] + wrong[:CASES]


def _distance(case: Case) -> float:
    return abs(case.probability - (case.record.label == POSITIVE))


def _cases(answers: Answers, threshold: float) -> list[Case]:
    predicted = np.where(answers.probabilities >= threshold, POSITIVE, 1 - POSITIVE)
    return [
        Case(index, record, float(probability), int(answer))
        for index, (record, probability, answer) in enumerate(
            zip(answers.records, answers.probabilities, predicted, strict=True)
        )
    ]


def _at_random(answered: list[Case]) -> list[Case]:
    chosen = np.random.default_rng(SEED).permutation(len(answered))[:RANDOM_IMAGES]
    return [answered[i] for i in sorted(chosen)]


def _draw_heatmaps(cases: list[Case], squares: NDArray[np.uint8], heatmaps: NDArray[np.float32], path: Path) -> None:
    rows = -(-len(cases) // 2)
    figure = Figure(figsize=(10, 2.9 * rows), dpi=_DPI, layout="constrained")
    halves = figure.subfigures(rows, 2, squeeze=False).ravel()
    for half, case, square, heatmap in zip(halves, cases, squares, heatmaps, strict=False):
        caption = f"I={case.index}, label {LABELS[case.record.label]}, P(COVID-19) = {case.probability:.3f}"
        half.suptitle(f"{'right' if case.right else 'wrong'}: {caption}", fontsize=9, color=_colour(case))
        plain, overlaid = half.subplots(1, 2)
        for axes in (plain, overlaid):
            axes.imshow(square, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
        _overlay(overlaid, heatmap, square.shape[0])
    save(figure, path)


def _overlay(axes: Axes, heatmap: NDArray[np.float32], side: int) -> None:
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)  # The square's, in its pixels.
    alpha = _STRONGEST * np.sqrt(heatmap)  # The image stays as it is where nothing spoke for COVID-19.
    axes.imshow(heatmap, cmap="inferno", vmin=0, vmax=1, alpha=alpha, interpolation="bilinear", extent=extent)


def _colour(case: Case) -> str:
    return RIGHT if case.right else WRONG
