"""A probe as Markdown: what the figures mean in words, then the figures."""

from collections.abc import Iterator, Mapping
from typing import Final

from training.breakdown import SUSPICIOUS_AUC
from training.card_results import interval_text, view_rule_text
from training.manifest import LABELS, POSITIVE
from training.markdown import escape, paragraphs, table
from training.measures import Estimate
from training.probe.measures import Altered, Probe, SourcesTold
from training.report.findings import FEWEST_GROUPS
from training.sources import SourceCounts, counts_text, difference_text, within

CHANCE: Final = 0.5
"""The ROC AUC of an answer that knows nothing."""

STRONG: Final = 0.25
"""Share of what whole images give above chance, from which on what is left without the lungs is called a shortcut and
no weak sign of one: rims of lungs that stay may give a little. The number is ours."""

_WITHOUT_LUNGS: Final = {"lungs covered": "With the lungs covered", "borders only": "On the borders only"}

_WITH_LESS: Final = {
    "centre only": "Covering the borders, and the outer parts of the lungs with them,",
    "matched grey levels": "Giving every image the same grey levels, and so the same brightness and contrast,",
    "mirrored": "Swapping left and right",
}

_EXPLAINED: Final = {
    "lungs covered": "two ellipses where lungs lie, the same in every image, filled with the mean of the rest",
    "borders only": "all but the outer 8 % of the side filled with the mean of the rest",
    "centre only": "all outside the inner 70 % of the side filled with the mean of what is inside",
    "matched grey levels": "every image given the histogram of the pooled train part, both classes together",
    "low resolution": "16 x 16 pixels and back",
    "mirrored": "left and right swapped",
}


def probe_text(probe: Probe, figure: str, *, made_up: bool) -> str:
    """Write the page.

    Args:
        probe: The figures.
        figure: Name of the PNG file beside it.
        made_up: Whether that shows a drawing and no radiograph.
    """
    drawn = "a drawing and no radiograph" if made_up else f"an image of the {probe.part} part"
    return (
        paragraphs(
            f"# What {escape(probe.model)} {probe.version} goes by",
            "**Research use only: never a diagnosis.** "
            + (
                "This page shows no radiograph and names no file."
                if made_up
                else "For the owner of the data: it shows a radiograph. `--public` shows none."
            ),
            _what(probe),
            "\n".join(f"- {sentence}" for sentence in findings(probe)),
            "## Altered images",
            _altered(probe),
            "\n".join(f"- *{name}*: {_EXPLAINED[name]}." for name in probe.altered),
            f"![{drawn}, as it is and altered]({figure})",
            "## Differences to the images as they are",
            "Paired, on the same images.",
            _differences(probe),
            "## The source, from the features",
            _sources_told(probe),
            "## Trivial rules",
            f"A rule on one property of the image, fitted on the train part, on the same {probe.part} images.",
            _rules(probe),
        )
        + "\n"
    )


def findings(probe: Probe) -> list[str]:
    """Say in sentences, Markdown, what follows from the figures."""
    return [
        *_suspicious(probe),
        *_within(probe),
        *(_without_lungs(probe, name) for name in _WITHOUT_LUNGS),
        "Of lungs that reach to the edge of an image a rim is left there, so that a low figure above chance proves "
        "little. One near chance acquits no model: images so covered are unlike any that it was trained on.",
        _low_resolution(probe),
        *(_change(probe, name) for name in _WITH_LESS),
        *(_told(name, told) for name, told in probe.sources_told.items()),
        _best_rule(probe),
    ]


def _what(probe: Probe) -> str:
    counts = ", ".join(f"{count:,} {label}" for label, count in probe.images.items())
    touched = " **The test part: to be measured once, and nothing chosen by it.**" if probe.part == "test" else ""
    return (
        f"Backbone {escape(probe.backbone)}, recipe {escape(probe.recipe)}, digest `{probe.model_digest[:16]}`, "
        f"through {escape(probe.engine)}. The **{probe.part}** part of the data it was trained on (split seed "
        f"{probe.split_seed}): {counts}, in {probe.groups:,} groups.{touched} Threshold {probe.threshold:.3f}, the "
        f"model's. Intervals: 95 %, {probe.bootstrap_rounds:,} rounds of the bootstrap by group."
    )


def _suspicious(probe: Probe) -> Iterator[str]:
    whole = probe.metrics["roc_auc"].value
    if whole > SUSPICIOUS_AUC:
        yield f"**Suspiciously good:** an ROC AUC above {SUSPICIOUS_AUC:g} ({whole:.3f}) wants an explanation."


def _within(probe: Probe) -> Iterator[str]:
    if not probe.sources:
        yield "No source holds both classes in number: whether the disease is told, or the source, cannot be seen."
    for name, counts in probe.sources.items():
        inside = probe.metrics[within(name)]
        yield (
            f"Within {escape(name)} ({counts_text(counts)}), where telling the source does not help, the ROC AUC is "
            f"**{_figure(inside)}**: {_verdict_within(inside, counts)}. Over all sources it is "
            f"{_figure(probe.metrics['roc_auc'])}."
        )
    yield from (f"{view_rule_text(name, rule.model_dump())}." for name, rule in probe.view_rules.items())


def _verdict_within(inside: Estimate, counts: SourceCounts) -> str:
    if min(counts.groups.values()) < FEWEST_GROUPS:
        return "too few groups for the interval to say much; cross-validate the recipe for more"
    return "chance may give as much" if inside.low <= CHANCE else "better than chance"


def _without_lungs(probe: Probe, name: str) -> str:
    left = probe.altered[name].metrics["roc_auc"]
    how = f"{_WITHOUT_LUNGS[name]} the ROC AUC is {_figure(left)}"
    if left.low <= CHANCE:
        return f"{how}: chance may give as much, no shortcut is seen."
    sign = "**A shortcut.**" if _share(probe, left) >= STRONG else "A weak sign of a shortcut."
    return f"{sign} {how}{_kept(probe, left)}: so much is taken from what lies beside the lungs."


def _low_resolution(probe: Probe) -> str:
    left = probe.altered["low resolution"].metrics["roc_auc"]
    return (
        f"On 16 x 16 pixels the ROC AUC is {_figure(left)}{_kept(probe, left)}: what outlines, exposure and large "
        "opacities give without any texture."
    )


def _kept(probe: Probe, left: Estimate) -> str:
    """Say which share is left of what the images as they are give above chance, where they give anything."""
    if probe.metrics["roc_auc"].low <= CHANCE:
        return ""
    return f", {_share(probe, left):.0%} of what the whole images give above {CHANCE:g}"


def _share(probe: Probe, left: Estimate) -> float:
    """Return which share that is; all of it where whole images give nothing."""
    gain = probe.metrics["roc_auc"].value - CHANCE
    return max(left.value - CHANCE, 0) / gain if gain > 0 else 1.0


def _change(probe: Probe, name: str) -> str:
    altered = probe.altered[name]
    difference = altered.differences["roc_auc"]
    if difference.low <= 0 <= difference.high:
        verdict = "no change that these images could show"
    else:
        verdict = "a loss" if difference.value < 0 else "a gain"
    return (
        f"{_WITH_LESS[name]} moves the ROC AUC by {difference_text(difference)}: {verdict}. Accuracy at the threshold "
        f"moves by {difference_text(altered.differences['accuracy'])}."
    )


def _told(name: str, told: SourcesTold) -> str:
    better = told.balanced_accuracy.low > told.majority_balanced_accuracy
    verdict = "the features tell where an image was taken from" if better else "not better than the majority rule"
    return (
        f"Source from the features, {name}: balanced accuracy {_figure(told.balanced_accuracy)}, of the majority rule "
        f"{told.majority_balanced_accuracy:.3f}: {verdict}."
    )


def _best_rule(probe: Probe) -> str:
    name, best = max(probe.trivial_rules.items(), key=lambda rule: rule[1]["accuracy"])
    ours = probe.metrics["accuracy"].value
    warning = "**No better than a trivial rule.** " if ours <= best["accuracy"] else ""
    return (
        f'{warning}A rule that knows only "{escape(name.replace("_", " "))}" is right for {best["accuracy"]:.1%} of '
        f"these images, the model for {ours:.1%}."
    )


def _columns(probe: Probe) -> dict[str, str]:
    inside = {within(name): f"AUC within {escape(name)}" for name in probe.sources}
    return {"accuracy": "accuracy", "roc_auc": "ROC AUC", **inside}


def _altered(probe: Probe) -> str:
    more = {"sensitivity": f"sensitivity ({LABELS[POSITIVE]})", "specificity": "specificity"}
    columns = _columns(probe) | more
    rows = [
        [name, *(_figure(metrics.get(metric)) for metric in columns)]
        for name, metrics in {"as they are": probe.metrics, **_metrics(probe.altered)}.items()
    ]
    return table(["images", *columns.values()], rows)


def _metrics(altered: Mapping[str, Altered]) -> dict[str, dict[str, Estimate]]:
    return {name: of.metrics for name, of in altered.items()}


def _differences(probe: Probe) -> str:
    columns = _columns(probe)
    rows = [
        [name, *(difference_text(of.differences.get(metric)) for metric in columns)]
        for name, of in probe.altered.items()
    ]
    return table(["images", *columns.values()], rows)


def _sources_told(probe: Probe) -> str:
    if not probe.sources_told:
        return "Not measured: fewer than two sources have groups enough."
    rows = [
        [
            name,
            ", ".join(f"{escape(source)} {count:,}" for source, count in told.images.items()),
            _figure(told.accuracy),
            f"{told.majority_accuracy:.3f}",
            _figure(told.balanced_accuracy),
            f"{told.majority_balanced_accuracy:.3f}",
            ", ".join(f"{escape(source)} {count:,}" for source, count in told.left_out.items()) or "none",
        ]
        for name, told in probe.sources_told.items()
    ]
    header = ["images", "sources", "accuracy", "majority rule", "balanced accuracy", "majority rule", "left out"]
    return paragraphs(
        "A multinomial logistic regression on the features of the images as they are, cross-validated by group. Left "
        "out are sources with too few groups. What it tells is there to be used, also where the model does not use it.",
        table(header, rows),
    )


def _rules(probe: Probe) -> str:
    rows = [
        [name.replace("_", " "), f"{rule['accuracy']:.3f}", f"{rule['roc_auc']:.3f}"]
        for name, rule in probe.trivial_rules.items()
    ]
    return table(["rule", "accuracy", "ROC AUC"], rows)


def _figure(estimate: Estimate | None) -> str:
    return interval_text(estimate.model_dump() if estimate else None)
