"""The charts of a report: numbers alone, no image of a patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from training.breakdown import reliability
from training.comparison import kept_epoch
from training.manifest import LABELS, POSITIVE
from training.markdown import escape
from training.measures import Comparison, Estimate, ModelMeasures, part_images
from training.plots import COLOURS, GREY, draw_bins, save
from training.results import Answers, TrainedModel

FIGURES: Final = "figures"
"""Folder of the figures, in that of the report."""

FILES: Final = ("curves-*.png", "confusion-*.png", "intervals.png", "ranking.png", "reliability.png")
"""What the files are called: those of an earlier report are known by it."""

_DPI: Final = 150
_PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of the backbones. Source: Okabe and Ito, Color Universal Design (2008); yellow is too light on white."""

_LINES: Final = ("-", "--", ":", "-.")
"""Of the recipes."""

_PANELS_A_ROW: Final = 3


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure of a report.

    Attributes:
        file: Name in the report's folder of figures.
        what: A sentence for who cannot see it.
    """

    file: str
    what: str

    @property
    def markdown(self) -> str:
        """Show the figure in the report."""
        return f"![{escape(self.what)}]({FIGURES}/{self.file})"


@dataclass(frozen=True, slots=True)
class Charts:
    """All charts of a report; empty or None where there is nothing to draw."""

    intervals: Drawn | None
    curves: tuple[Drawn, ...]
    confusion: tuple[Drawn, ...]
    ranking: Drawn | None
    reliability: Drawn


def draw_charts(models: Sequence[TrainedModel], comparison: Comparison, folder: Path) -> Charts:
    """Draw all charts of a report.

    Args:
        models: In the order of ``comparison.models``.
        comparison: Measured on them.
        folder: Of the PNG files.
    """
    numbered = list(enumerate(zip(models, comparison.models, strict=True), start=1))
    part = comparison.part
    return Charts(
        intervals=draw_intervals(comparison, folder) if len(models) > 1 or comparison.trivial_rules else None,
        curves=tuple(draw_curves(model, folder / f"curves-{n}.png") for n, (model, _) in numbered if model.history),
        confusion=tuple(draw_confusion(of, part, folder / f"confusion-{n}.png") for n, (_, of) in numbered),
        ranking=draw_ranking(models, comparison, folder) if _both_classes(models[0].parts[part]) else None,
        reliability=draw_reliability(models, comparison, folder),
    )


def draw_intervals(comparison: Comparison, folder: Path) -> Drawn:
    """Draw accuracy and ROC AUC of the models with their intervals, and those of the trivial rules."""
    models, rules = comparison.models, comparison.trivial_rules
    names = [f"{model.name}{_winner_mark(model, comparison)}" for model in models]
    names += [f"rule: {name.replace('_', ' ')}" for name in rules]
    figure = Figure(figsize=(8, 0.9 + 0.32 * len(names)), dpi=_DPI, layout="constrained")
    for axes, metric, title in zip(
        figure.subplots(1, 2, sharey=True), ("accuracy", "roc_auc"), ("accuracy", "ROC AUC"), strict=True
    ):
        for row, model in enumerate(models):
            _draw_interval(axes, row, model.parts[comparison.part].metrics.get(metric), model.name == comparison.winner)
        for row, rule in enumerate(rules.values(), start=len(models)):
            axes.plot(rule.get(metric, np.nan), row, "D", color=GREY, markersize=5)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_title(f"{title}, {part_images(comparison.part)}", fontsize=9)
        axes.grid(axis="x", color="#dddddd")
        _tidy(axes)
    axes.invert_yaxis()
    save(figure, folder / "intervals.png")
    return Drawn("intervals.png", "Accuracy and ROC AUC of each model with 95 % intervals, beside the trivial rules.")


def _winner_mark(model: ModelMeasures, comparison: Comparison) -> str:
    return " (winner)" if len(comparison.models) > 1 and model.name == comparison.winner else ""


def _draw_interval(axes: Axes, row: int, of: Estimate | None, is_winner: bool) -> None:
    if of:
        colour = COLOURS[POSITIVE] if is_winner else COLOURS[1 - POSITIVE]
        axes.plot([of.low, of.high], [row, row], "-", color=colour, linewidth=2)
        axes.plot(of.value, row, "o", color=colour, markersize=6)


def draw_curves(model: TrainedModel, path: Path) -> Drawn:
    """Draw accuracy and loss of training and validation by epoch, with the stages and the kept epochs marked."""
    figure = Figure(figsize=(8, 2.9), dpi=_DPI, layout="constrained")
    figure.suptitle(model.name, fontsize=10)
    epochs = [epoch for stage in model.history for epoch in stage]
    numbers = range(1, len(epochs) + 1)
    for axes, metric in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for colour, name, key in zip(COLOURS, ("train", "validation"), (metric, f"val_{metric}"), strict=True):
            axes.plot(numbers, [epoch[key] for epoch in epochs], ".-", color=colour, label=name, linewidth=1.2)
        _mark_stages(axes, model)
        kept = _kept(model)
        axes.plot(
            [number + 1 for number in kept],
            [epochs[number][f"val_{metric}"] for number in kept],
            "o",
            color="black",
            fillstyle="none",
            markersize=9,
            label="kept" if kept else "",
        )
        axes.set_xlabel("epoch", fontsize=9)
        axes.set_ylabel(metric, fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8, frameon=False)
        _tidy(axes)
    save(figure, path)
    return Drawn(path.name, f"Accuracy and loss by epoch of {model.name}, train and validation, stages marked.")


def _mark_stages(axes: Axes, model: TrainedModel) -> None:
    lengths = [len(stage) for stage in model.history]
    for number, (length, end) in enumerate(zip(lengths, accumulate(lengths), strict=True), start=1):
        if number < len(lengths):
            axes.axvline(end + 0.5, color=GREY, linestyle="--", linewidth=1)
        middle = end - length / 2 + 0.5
        place = axes.get_xaxis_transform()  # x in epochs, y in heights of the axes.
        axes.text(middle, 1.01, f"stage {number}", ha="center", va="bottom", fontsize=8, color=GREY, transform=place)


def _kept(model: TrainedModel) -> list[int]:
    """Return the numbers, from 0 over all stages, of the epochs whose weights were kept."""
    if not model.config:
        return []
    kept, start = [], 0
    for stage, epochs in zip(model.config.stages, model.history, strict=False):
        number = kept_epoch(epochs, stage.checkpoint_monitor)
        kept += [] if number is None else [start + number]
        start += len(epochs)
    return kept


def draw_confusion(model: ModelMeasures, part: str, path: Path) -> Drawn:
    """Draw a model's confusion matrix, plain and normalised by the true class."""
    plain = np.array(model.parts[part].confusion)
    of_class = plain.sum(axis=1, keepdims=True)
    normalised = plain / np.maximum(of_class, 1)
    figure = Figure(figsize=(5.6, 2.8), dpi=_DPI, layout="constrained")
    figure.suptitle(f"{model.name}, {part_images(part)}, threshold {model.threshold:.3f}", fontsize=10)
    left, right = figure.subplots(1, 2)
    _draw_matrix(left, normalised, [[f"{count:,}" for count in row] for row in plain], "images")
    shares = [[f"{x:.1%}" if of_class[i, 0] else "none" for x in row] for i, row in enumerate(normalised)]
    _draw_matrix(right, normalised, shares, "share of the true class")
    save(figure, path)
    return Drawn(path.name, f"Confusion matrices of {model.name}, plain and normalised by the true class.")


def _draw_matrix(axes: Axes, shades: NDArray[np.float64], texts: Sequence[Sequence[str]], title: str) -> None:
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        colour = "white" if shades[row, column] > 0.6 else "black"
        axes.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=12)
    axes.set_title(title, fontsize=9)
    axes.set_xticks(range(len(LABELS)), LABELS, fontsize=8)
    axes.set_yticks(range(len(LABELS)), LABELS, fontsize=8, rotation=90, va="center")
    axes.set_xlabel("answer", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)


def draw_ranking(models: Sequence[TrainedModel], comparison: Comparison, folder: Path) -> Drawn:
    """Draw the ROC and the precision-recall curves of all models; both classes must be there."""
    figure = Figure(figsize=(8, 4.4 + 0.2 * len(models)), dpi=_DPI, layout="constrained")
    roc, precision = figure.subplots(1, 2)
    labels = models[0].parts[comparison.part].labels
    for model, measured in zip(models, comparison.models, strict=True):
        style = _style(measured, comparison)
        probabilities, metrics = model.parts[comparison.part].probabilities, measured.parts[comparison.part].metrics
        false_positives, sensitivity, _ = roc_curve(labels, probabilities, drop_intermediate=False)
        area = metrics["roc_auc"].value, metrics["average_precision"].value
        name = f"{model.name}: ROC AUC {area[0]:.3f}, average precision {area[1]:.3f}"
        roc.plot(false_positives, sensitivity, label=name, **style)
        values, recall, _ = precision_recall_curve(labels, probabilities)
        precision.plot(recall, values, drawstyle="steps-post", **style)
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    precision.axhline(float((labels == POSITIVE).mean()), color=GREY, linewidth=0.8)
    _name_axes(roc, "ROC", "1 - specificity", "sensitivity")
    _name_axes(precision, "precision and recall of COVID-19", "recall (sensitivity)", "precision")
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    save(figure, folder / "ranking.png")
    return Drawn("ranking.png", "ROC and precision-recall curves of all models; grey: answers at random.")


def draw_reliability(models: Sequence[TrainedModel], comparison: Comparison, folder: Path) -> Drawn:
    """Draw, for each model, how often images of about one probability are COVID-19."""
    columns = min(_PANELS_A_ROW, len(models))
    rows = -(-len(models) // columns)
    figure = Figure(figsize=(max(2.7 * columns, 4), 2.9 * rows), dpi=_DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, model, measured in zip(panels, models, comparison.models, strict=False):
        metrics = measured.parts[comparison.part].metrics
        answers = model.parts[comparison.part]
        groups = [record.group for record in answers.records]
        draw_bins(axes, reliability(answers.labels, answers.probabilities, groups))
        error, brier = metrics["expected_calibration_error"].value, metrics["brier"].value
        _name_axes(axes, model.name, "probability of COVID-19", "share that is COVID-19")
        axes.text(0.03, 0.97, f"ECE {error:.3f}\nBrier {brier:.3f}", va="top", fontsize=8)
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    save(figure, folder / "reliability.png")
    return Drawn(
        "reliability.png",
        "Reliability diagrams with 95 % intervals: the diagonal is calibrated; larger dots hold more images.",
    )


def _style(model: ModelMeasures, comparison: Comparison) -> dict[str, Any]:
    backbones = list(dict.fromkeys(of.backbone for of in comparison.models))
    recipes = list(dict.fromkeys(of.recipe for of in comparison.models))
    return {
        "color": _PALETTE[backbones.index(model.backbone) % len(_PALETTE)],
        "linestyle": _LINES[recipes.index(model.recipe) % len(_LINES)],
        "linewidth": 2.2 if model.name == comparison.winner else 1.3,
    }


def _name_axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _both_classes(answers: Answers) -> bool:
    return len(set(answers.labels.tolist())) == len(LABELS)
