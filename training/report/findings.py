"""What a reader of a report must know before any table: one plain sentence each."""

import math
from collections.abc import Iterator
from typing import Final

from training.breakdown import SUSPICIOUS_AUC
from training.card_results import FEWEST_IMAGES, interval_text
from training.manifest import LABELS
from training.markdown import escape
from training.measures import Comparison, Estimate, ModelMeasures, SourceMeasures, part_images

UNKNOWN_SOURCE: Final = "unknown"
"""What ``evaluate.describe`` calls the source of images without one."""

FEWEST_GROUPS: Final = 10
"""Of a class, for an interval that is worth its name; our choice."""


def findings(comparison: Comparison) -> list[str]:
    """Write the sentences, Markdown, in the order of their weight."""
    return [
        *(f"**{escape(note)}**" for note in comparison.notes),
        *_winner(comparison),
        *(sentence for model in comparison.models for sentence in one_class(model, comparison.part)),
        *_missing_class(comparison),
        *_few_groups(comparison),
        *_from_random(comparison),
        *_suspicious(comparison),
        _within_a_source(comparison),
        *_best_rule(comparison),
        how_split(comparison),
        *_limit(comparison),
        *skipped(comparison),
    ]


def figure(estimate: Estimate | None) -> str:
    """Format a figure with its interval, or say that it cannot be estimated."""
    return interval_text(estimate.model_dump() if estimate else None)


def plain(value: float | None) -> str:
    """Format a figure without an interval."""
    return "not estimable" if value is None or math.isnan(value) else f"{value:.3f}"


def one_class(model: ModelMeasures, part: str) -> list[str]:
    """Say it plainly if a model answers one class for every image of a part."""
    measured = model.parts[part]
    rules = {
        f"at its threshold of {model.threshold:.3f}": (measured.only_answer, measured.metrics["accuracy"]),
        "where the larger uncalibrated probability wins": (
            measured.only_answer_at_half,
            measured.accuracy_at_half,
        ),
    }
    images = sum(measured.images.values())
    return [
        f"**{escape(model.name)} answers {answer} for every one of the {images:,} {part_images(part)}** "
        f"{' and '.join(rule for rule, (of, _) in rules.items() if of == answer)}: its accuracy of "
        f"{next(accuracy.value for of, accuracy in rules.values() if of == answer):.3f} there is the share of that "
        "class and shows no skill."
        for answer in LABELS
        if any(of == answer for of, _ in rules.values())
    ]


def sources_known(model: ModelMeasures, part: str) -> bool:
    """Tell whether any image of a part has a source."""
    return bool(model.parts[part].sources.keys() - {UNKNOWN_SOURCE})


def how_split(comparison: Comparison) -> str:
    """Say whether the parts keep groups together."""
    data = comparison.data
    images = sum(data.total.images.values())
    if not data.split:
        return (
            f"There is no split: all {images:,} images were measured. If the model was trained on any of them, the "
            "figures are too good."
        )
    if data.grouped_images == images:
        return "The split is by group, known for every image: no group is in two parts."
    if data.grouped_images:
        return (
            f"The split is by group for {data.grouped_images:,} of {images:,} images. The others have no group in "
            "metadata.csv and are split by image: patients among them may be in two parts."
        )
    return (
        "**The split is by image:** no groups are known (no column `group` in metadata.csv). Images of one patient may "
        "be in two parts, test results may be too good, and the intervals too narrow."
    )


def skipped(comparison: Comparison) -> list[str]:
    """Count the images that were left out."""
    data = comparison.data
    total = sum(data.skipped.values())
    if not total:
        return []
    what = "1 image cannot be read and was" if total == 1 else f"{total:,} images cannot be read and were"
    classes = ", ".join(f"{count:,} {label}" for label, count in data.skipped.items())
    reasons = ", ".join(f"{code.replace('_', ' ')} {count:,}" for code, count in data.skipped_reasons.items())
    return [f"{what} left out ({classes}; {reasons})."]


def _winner(comparison: Comparison) -> Iterator[str]:
    model = comparison.chosen
    measured = model.parts[comparison.part]
    figures = (
        f"accuracy {figure(measured.metrics['accuracy'])} at its threshold, "
        f"{figure(measured.accuracy_at_half)} where the larger uncalibrated probability wins, "
        f"ROC AUC {figure(measured.metrics.get('roc_auc'))}"
    )
    on = f"On the {sum(measured.images.values()):,} {part_images(comparison.part)}"
    if len(comparison.models) == 1:
        yield f"**{escape(model.name)}.** {on}: {figures}."
        return
    yield f"**The winner of {len(comparison.models)} models is {escape(model.name)}.** {on}: {figures}."
    yield f"How it was chosen: {escape(comparison.winner_rule.rstrip('.'))}."


def _missing_class(comparison: Comparison) -> Iterator[str]:
    for label, count in comparison.chosen.parts[comparison.part].images.items():
        if not count:
            yield (
                f"**No {label} image is among the {part_images(comparison.part)}:** what needs both classes (ROC AUC, "
                "average precision) is not estimable."
            )


def _few_groups(comparison: Comparison) -> Iterator[str]:
    groups = comparison.chosen.parts[comparison.part].groups
    few = [f"{count:,} {label}" for label, count in groups.items() if 0 < count < FEWEST_GROUPS]
    if few:
        unit = "groups" if comparison.data.grouped_images else "images"
        yield (
            f"**Few images:** the {part_images(comparison.part)} hold {' and '.join(few)} {unit}. Below "
            f"{FEWEST_GROUPS} a bootstrap interval only repeats what is there: figures and intervals say little."
        )


def _from_random(comparison: Comparison) -> Iterator[str]:
    begun = [escape(model.name) for model in comparison.models if model.weights == "random"]
    if begun:
        yield (
            f"**Trained from random weights, without ImageNet:** {', '.join(begun)}. "
            "This is no comparison of pretrained backbones."
        )


def _suspicious(comparison: Comparison) -> Iterator[str]:
    areas = {model.name: model.parts[comparison.part].metrics.get("roc_auc") for model in comparison.models}
    high = [f"{escape(name)} {of.value:.3f}" for name, of in areas.items() if of and of.value > SUSPICIOUS_AUC]
    if high:
        yield (
            f"**Suspiciously good:** a ROC AUC above {SUSPICIOUS_AUC:g} ({', '.join(high)}) is a warning and no "
            "achievement. A model may tell the sources apart (shape, borders, burned-in marks) and not the disease."
        )


def _within_a_source(comparison: Comparison) -> str:
    if not sources_known(comparison.chosen, comparison.part):
        return "Sources are not known: whether a model tells the source and not the disease cannot be seen here."
    sources = comparison.chosen.parts[comparison.part].sources
    both = [
        _honest(name, source)
        for name, source in sources.items()
        if name != UNKNOWN_SOURCE and all(source.images.values())
    ]
    if not both:
        return (
            "No source holds both classes: no figure here tells whether the disease is recognised, or the source. The "
            "AUC within a source is not estimable."
        )
    return (
        f"The honest figure is the AUC of {escape(comparison.winner)} within a source that holds both classes: "
        f"{'; '.join(both)}."
    )


def _honest(name: str, source: SourceMeasures) -> str:
    counts = " and ".join(f"{source.images[label]:,} {label}" for label in LABELS)
    few = min(source.images.values()) < FEWEST_IMAGES
    return f"{'too few images' if few else figure(source.metrics.get('roc_auc'))} in {escape(name)} ({counts})"


def _best_rule(comparison: Comparison) -> Iterator[str]:
    if not comparison.trivial_rules:
        return
    name, best = max(comparison.trivial_rules.items(), key=lambda rule: rule[1]["accuracy"])
    ours = comparison.chosen.parts[comparison.part].metrics["accuracy"].value
    warning = "**No better than a trivial rule.** " if ours <= best["accuracy"] else ""
    yield (
        f'{warning}A rule that knows only "{escape(name.replace("_", " "))}" is right for {best["accuracy"]:.1%} of '
        f"the {part_images(comparison.part)}, {escape(comparison.winner)} for {ours:.1%}."
    )


def _limit(comparison: Comparison) -> Iterator[str]:
    if comparison.data.limit is not None:
        images = sum(comparison.data.total.images.values())  # Whole groups: a few more than the limit.
        yield (
            f"**The data were limited to {images:,} images (`--limit`):** the figures hold for these "
            "and are no result of the whole data set."
        )
