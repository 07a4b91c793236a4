"""What a model's probabilities are worth: metrics with intervals by group, calibration, trivial rules."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from training.bootstrap import Counts, Rounds, draw_groups, f1, interval, ranking, share
from training.manifest import LABELS, POSITIVE, Record

BOOTSTRAP_ROUNDS: Final = 1000
CALIBRATION_BINS: Final = 10

THRESHOLD_RULE: Final = "Youden's J on validation, after bias-corrected temperature scaling there"
"""What ``Calibration.fit`` and then ``fit_threshold`` do."""

Labels = NDArray[np.int64]
Probabilities = NDArray[np.floating[Any]]


def fit_threshold(labels: Labels, probabilities: Probabilities) -> float:
    """Find the probability of COVID-19 that maximises sensitivity + specificity - 1 (Youden's J).

    Placed half-way between the chosen probability and the next lower one, so that rounding does not
    decide. Among equal maxima the one nearest to 0.5.
    """
    false_positive_rate, sensitivity, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    gain = sensitivity - false_positive_rate
    best = thresholds[np.isclose(gain, gain.max())]
    chosen = best[np.argmin(np.abs(best - 0.5))]
    return half_way_below(float(chosen), probabilities) if np.isfinite(chosen) else 1.0


def half_way_below(chosen: float, probabilities: Probabilities) -> float:
    """Return the middle between a probability that was given and the next lower one that was, or 0."""
    lower = probabilities[probabilities < chosen]
    return (chosen + (float(lower.max()) if len(lower) else 0.0)) / 2


def metrics_by_round(
    labels: Labels, probabilities: Probabilities, threshold: float | Probabilities, counts: Counts
) -> dict[str, Rounds]:
    """Compute metrics of the probability of COVID-19 for images drawn with replacement.

    Args:
        labels: (N,).
        probabilities: Of COVID-19, (N,).
        threshold: From this probability on the answer is COVID-19; one for all, or of each image, (N,).
        counts: How often each image was drawn, (R, N).

    Returns:
        accuracy, sensitivity, specificity, F1 of each class, ROC AUC, average precision, Brier score and expected
        calibration error, all in 0..1, (R,) each; NaN where a class is missing.
    """
    positive, predicted = labels == POSITIVE, probabilities >= threshold
    roc_auc, average_precision = ranking(positive, probabilities, counts)
    images = counts.sum(axis=1)
    return {
        "accuracy": counts @ (positive == predicted) / images,
        "sensitivity": share(predicted, positive, counts),
        "specificity": share(~predicted, ~positive, counts),
        f"f1_{LABELS[1 - POSITIVE]}": f1(~positive, ~predicted, counts),
        f"f1_{LABELS[POSITIVE]}": f1(positive, predicted, counts),
        "roc_auc": roc_auc,
        "average_precision": average_precision,
        "brier": counts @ (probabilities - labels) ** 2 / images,
        "expected_calibration_error": _calibration_errors(labels, probabilities, counts),
    }


def calibration_bins(probabilities: Probabilities) -> NDArray[np.int64]:
    """Return the bin of each probability, 0..9."""
    return np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def _calibration_errors(labels: Labels, probabilities: Probabilities, counts: Counts) -> Rounds:
    """Compute the expected calibration error over ten bins of equal width (arXiv:1706.04599, eq. 3), by round."""
    in_bin = calibration_bins(probabilities)[:, np.newaxis] == np.arange(CALIBRATION_BINS)  # (N, bins)
    gaps = counts @ (in_bin * (probabilities - labels)[:, np.newaxis])  # (R, bins)
    return np.asarray(np.abs(gaps).sum(axis=1) / counts.sum(axis=1))


def with_intervals(
    labels: Labels, probabilities: Probabilities, threshold: float, groups: Sequence[str], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Compute the metrics with bootstrap intervals that resample whole groups.

    Returns:
        By metric: ``value``, ``low`` and ``high`` (the 95 % percentile interval); metrics that cannot be
        estimated are left out.
    """
    return estimate(
        lambda counts: metrics_by_round(labels, probabilities, threshold, counts), len(labels), groups, seed
    )


def estimate(
    measure: Callable[[Counts], Mapping[str, Rounds]], images: int, groups: Sequence[str], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Compute some metrics of N images with bootstrap intervals that resample whole groups.

    Equal groups and an equal seed give equal draws: differences measured in one call are paired.

    Args:
        measure: From how often each image was drawn, (R, N), to metrics by name, (R,) each.
        images: N.
        groups: Of each image.
        seed: Of the draws.

    Returns:
        As ``with_intervals``.
    """
    point = {name: float(value[0]) for name, value in measure(np.ones((1, images), np.int64)).items()}
    rounds = [measure(counts) for counts in draw_groups(groups, BOOTSTRAP_ROUNDS, seed)]
    estimated = {}
    for name, value in point.items():
        if not np.isnan(value):
            low, high = interval(np.concatenate([of[name] for of in rounds]))
            estimated[name] = {"value": value, "low": low, "high": high}
    return estimated


def describe(records: Sequence[Record], probabilities: Probabilities, threshold: float) -> dict[str, Any]:
    """Measure a split as a whole and source by source.

    Returns:
        ``images`` and ``groups`` a class, ``metrics`` with intervals, and ``sources`` as ``describe_each``.
    """
    labels, groups = np.array([r.label for r in records]), [r.group for r in records]
    sources = [r.source for r in records]
    by_source = describe_each(sorted(set(sources)), sources, records, probabilities, threshold)
    return {
        "images": _count(labels),
        "groups": _count_groups(labels, groups),
        "metrics": with_intervals(labels, probabilities, threshold, groups),
        "sources": {source or "unknown": measured for source, measured in by_source.items()},
    }


def describe_each(
    names: Sequence[str],
    values: Sequence[str],
    records: Sequence[Record],
    probabilities: Probabilities,
    threshold: float,
) -> dict[str, dict[str, Any]]:
    """Measure the images of each value of a property.

    Args:
        names: The values to measure, in the order of the result.
        values: Of each of N images.
        records: N images.
        probabilities: Of COVID-19, (N,).
        threshold: From this probability on the answer is COVID-19.

    Returns:
        By value ``images`` and ``groups`` a class, and ``metrics``: a value with both classes has an ROC AUC, one
        with a single class only its sensitivity or specificity.
    """
    labels, groups = np.array([r.label for r in records]), [r.group for r in records]
    described = {}
    for name in names:
        here = np.array([value == name for value in values])
        members = [group for group, inside in zip(groups, here, strict=True) if inside]
        measured = with_intervals(labels[here], probabilities[here], threshold, members)
        described[name] = {
            "images": _count(labels[here]),
            "groups": _count_groups(labels[here], members),
            "metrics": {k: v for k, v in measured.items() if k in ("sensitivity", "specificity", "roc_auc")},
        }
    return described


def trivial_rules(
    fitted_on: tuple[dict[str, NDArray[np.float64]], Labels], measured_on: tuple[dict[str, NDArray[np.float64]], Labels]
) -> dict[str, dict[str, float]]:
    """Measure what a rule on one trivial property of the image reaches.

    Args:
        fitted_on: Properties (name to one value an image) and labels that choose direction and threshold.
        measured_on: Those that the rule is measured on.

    Returns:
        Accuracy and ROC AUC of each rule.
    """
    rules = {}
    for name, values in fitted_on[0].items():
        sign = 1.0 if roc_auc_score(fitted_on[1], values) >= 0.5 else -1.0
        limit = _best_limit(sign * values, fitted_on[1])
        test = sign * measured_on[0][name]
        rules[name] = {
            "accuracy": float(((test >= limit) == (measured_on[1] == POSITIVE)).mean()),
            "roc_auc": float(roc_auc_score(measured_on[1], test)),
        }
    return rules


def _best_limit(values: NDArray[np.float64], labels: Labels) -> float:
    limits = np.append(np.unique(values), np.inf)  # The last never answers COVID-19.
    accuracy = [((values >= limit) == (labels == POSITIVE)).mean() for limit in limits]
    return float(limits[int(np.argmax(accuracy))])


def _count(labels: Labels) -> dict[str, int]:
    return {name: int((labels == label).sum()) for label, name in enumerate(LABELS)}


def _count_groups(labels: Labels, groups: Sequence[str]) -> dict[str, int]:
    """Count groups of each class; one that holds both counts in both."""
    return _count(np.array([label for label, _ in set(zip(labels.tolist(), groups, strict=True))]))
