"""The measured part of a model card: figures by split and property, calibration, what answers are worth."""

from collections.abc import Mapping
from typing import Any, Final

from app.artifact import Metadata
from training.breakdown import ECE_AIM, PROPERTIES
from training.manifest import LABELS
from training.markdown import escape, paragraphs, table

WITHIN: Final = "roc_auc within "
"""How the ROC AUC within a source is named, before the source."""

FEWEST_IMAGES: Final = 5
"""Of a class, for a figure of a source: below, a bootstrap interval only repeats what is there."""


def results(metadata: Metadata, test_evaluations: int | None) -> str:
    """Write the figures of an artifact, Markdown.

    Args:
        metadata: With metrics.
        test_evaluations: How often this run was measured on the test part; None where unknown.
    """
    return paragraphs(
        "Measured with the exported model in OpenVINO, float32. Intervals: 95 %, bootstrap by group. The epoch, the "
        f"calibration and the threshold were chosen on validation; nothing was chosen on the test part. "
        f"{_evaluations(test_evaluations)}",
        _by_split(metadata),
        "### Test part by source, view, age and sex\n\nNot estimable: what needs a class that is missing. Not shown: "
        f"what rests on fewer than {FEWEST_IMAGES} images. In a row of one class the figure says nothing about telling "
        "the classes apart.",
        _by_property(metadata.metrics["test"]),
        "### Trivial rules\n\nWhat a rule on one trivial property of the image reaches on the same test part, its "
        "threshold chosen on validation:",
        _trivial_rules(metadata.metrics["trivial_rules"]),
        "### Predictive values\n\nWhat an answer is worth where COVID-19 is as frequent as the first column states, "
        "from sensitivity and specificity on the test part by Bayes' rule. The prevalences are stated, not measured; "
        "that of the test part is a collection's and means nothing.",
        _predictive_values(metadata.metrics["test"]),
        "### Calibration",
        _calibration(metadata.metrics["test"]),
    )


def _evaluations(count: int | None) -> str:
    if count is None:
        return ""
    times = "once" if count == 1 else f"{count} times"
    return (
        f"This run was measured on the test part {times}, this time included; other runs on the same data are not "
        "counted."
    )


def _by_split(metadata: Metadata) -> str:
    splits = {name: metadata.metrics[name] for name in ("validation", "test")}
    rows = [
        [metric_name(name), *(interval_text(part["metrics"].get(name)) for part in splits.values())]
        for name in splits["test"]["metrics"]
    ]
    return table(["metric", *splits], rows)


def metric_name(name: str) -> str:
    """Name a metric for a reader."""
    known = {"roc_auc": "ROC AUC", "brier": "Brier score", "expected_calibration_error": "expected calibration error"}
    return known.get(name, name.replace("f1_", "F1 ").replace("_", " "))


def _by_property(test: Mapping[str, Any]) -> str:
    rows = [
        [f"{of}: {escape(name)}", *(str(count) for count in measured["images"].values()), *source_figures(measured)]
        for field, of in PROPERTIES.items()
        for name, measured in test.get(field, {}).items()
    ]
    return table(["", *LABELS, "sensitivity", "specificity", "ROC AUC"], rows)


def _trivial_rules(rules: Mapping[str, Mapping[str, float]]) -> str:
    rows = [[name.replace("_", " "), f"{r['accuracy']:.3f}", f"{r['roc_auc']:.3f}"] for name, r in rules.items()]
    return table(["rule", "accuracy", "ROC AUC"], rows)


def _predictive_values(test: Mapping[str, Any]) -> str:
    rows = [
        [percent(of["prevalence"]), interval_text(of["positive"]), interval_text(of["negative"])]
        for of in test.get("predictive_values", [])
    ]
    return table(["prevalence", "called COVID-19: share with it", "not called: share without it"], rows)


def percent(share: float) -> str:
    """Format a share as it was stated: 0.02 is "2 %"."""
    return f"{100 * share:g} %"


def _calibration(test: Mapping[str, Any]) -> str:
    error = test["metrics"]["expected_calibration_error"]
    rows = [
        [
            f"{of['low']:.1f} to {of['high']:.1f}",
            str(of["images"]),
            f"{of['mean_probability']:.3f}",
            f"too few images ({of['images']})" if of["images"] < FEWEST_IMAGES else interval_text(of["share"]),
        ]
        for of in test.get("calibration", [])
    ]
    return paragraphs(
        f"Expected calibration error {interval_text(error)} over ten bins of equal width: the aim of at most "
        f"{ECE_AIM:g} is {_reached(error)}. Drawing images again adds noise to this error, so that its interval lies "
        "high. It holds for the mixture of images here; where COVID-19 is rarer, probabilities are too high.",
        table(["probability of COVID-19", "test images", "mean probability", "share that is COVID-19"], rows),
    )


def _reached(error: Mapping[str, float]) -> str:
    if error["value"] > ECE_AIM:
        return "missed"
    return "reached" if error["high"] <= ECE_AIM else "reached, not beyond doubt: the interval goes above it"


def precision_table(metadata: Metadata) -> str:
    """Tell what lower precisions than float32 change on validation, Markdown."""
    if not metadata.precisions:
        return "No precision but f32 was measured: the model is served in f32."
    rows = [
        [
            name,
            f"{record.largest_difference:.4f}",
            str(record.label_flips),
            "none" if record.farthest_flip is None else f"{record.farthest_flip:.4f}",
            f"{record.roc_auc_difference:+.4f}",
            f"{record.accuracy_difference:+.4f}",
            "yes" if record.accepted else f"no: {'; '.join(record.reasons)}",
        ]
        for name, record in metadata.precisions.items()
    ]
    images = next(iter(metadata.precisions.values())).images
    head = ["precision", "largest difference of a probability", "labels that flip", "the farthest from the threshold"]
    return paragraphs(
        f"Against f32, on the {images} validation images. The model may be served in f32 and in what is accepted; "
        "a precision that is not listed was not measured.",
        table([*head, "ROC AUC", "accuracy", "accepted"], rows),
    )


def source_figures(measured: Mapping[str, Any]) -> list[str]:
    """Format sensitivity, specificity and ROC AUC of one source, each only if its classes have images enough."""
    negatives, positives = (measured["images"][label] for label in LABELS)
    fewest = {"sensitivity": positives, "specificity": negatives, "roc_auc": min(negatives, positives)}
    return [
        f"too few images ({count})" if 0 < count < FEWEST_IMAGES else interval_text(measured["metrics"].get(name))
        for name, count in fewest.items()
    ]


def interval_text(metric: Mapping[str, Any] | None) -> str:
    """Format a metric with its interval; None is one that cannot be estimated."""
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})" if metric else "not estimable"


def view_rule_text(source: str, rule: Mapping[str, Any]) -> str:
    """Tell what knowing the view alone is worth within a source (``sources.measure_view_rule``), Markdown."""
    return (
        f"Within {escape(source)} a rule that knows only whether a radiograph was taken AP or PA has a ROC AUC of "
        f"{interval_text(rule)}"
    )
