"""A part of the data measured in full: as a whole, by source, view, age and sex, and in bins of probability."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from training.ages import AGE_BANDS, age_band
from training.bootstrap import Counts, Rounds, ratio
from training.evaluate import (
    CALIBRATION_BINS,
    Labels,
    Probabilities,
    calibration_bins,
    describe,
    describe_each,
    estimate,
)
from training.manifest import POSITIVE, Record
from training.prevalence import PREVALENCES, at_prevalences

PROPERTIES: Final = {"sources": "source", "views": "view", "ages": "age", "sexes": "sex"}
"""Fields of what ``break_down`` returns, and what their rows are values of."""

NOT_STATED: Final = "not stated"
"""The row of the images of which the table does not say it."""

OTHERS: Final = "other values"

SUSPICIOUS_AUC: Final = 0.97
"""Above it a report warns. Source of the doubt: models near 1 on the sources they were trained on fell far on
others (DeGrave et al., doi:10.1038/s42256-021-00338-7); the number is ours, that of the model card."""

ECE_AIM: Final = 0.05
"""The largest expected calibration error on the test part that we are content with; our choice."""

_MOST_ROWS: Final = 8
"""Of a property: the most frequent values are rows of their own, the rest is gathered in one."""


def break_down(
    records: Sequence[Record],
    probabilities: Probabilities,
    threshold: float,
    prevalences: Sequence[float] = PREVALENCES,
) -> dict[str, Any]:
    """Measure a part of the data.

    Args:
        records: N images.
        probabilities: Of COVID-19, calibrated, (N,).
        threshold: From this probability on the answer is COVID-19.
        prevalences: For the predictive values.

    Returns:
        As ``evaluate.describe``, and ``views``, ``ages``, ``sexes`` in the form of its ``sources``; ``calibration`` as
        ``reliability``; ``predictive_values`` as ``prevalence.at_prevalences``.
    """
    labels, groups = np.array([record.label for record in records]), [record.group for record in records]
    return {
        **describe(records, probabilities, threshold),
        "views": _by([record.view for record in records], records, probabilities, threshold),
        "ages": _by([age_band(record.age) or "" for record in records], records, probabilities, threshold, AGE_BANDS),
        "sexes": _by([record.sex for record in records], records, probabilities, threshold),
        "calibration": reliability(labels, probabilities, groups),
        "predictive_values": at_prevalences(labels, probabilities, threshold, groups, prevalences),
    }


def reliability(labels: Labels, probabilities: Probabilities, groups: Sequence[str]) -> list[dict[str, Any]]:
    """Compare, in ten bins of equal width, the mean probability of COVID-19 with the share that is COVID-19.

    Args:
        labels: (N,).
        probabilities: Of COVID-19, (N,).
        groups: Of each image; intervals come from the bootstrap over them.

    Returns:
        The bins that hold an image, from low to high: ``low`` and ``high`` (bounds of the bin), ``images``,
        ``mean_probability``, and ``share`` with its interval.
    """
    bins = calibration_bins(probabilities)
    filled = np.unique(bins)
    members = bins[:, np.newaxis] == filled  # (N, filled)
    positive = labels == POSITIVE

    def measure(counts: Counts) -> dict[str, Rounds]:
        shares = ratio(counts @ (members & positive[:, np.newaxis]), counts @ members)
        return {str(number): shares[:, column] for column, number in enumerate(filled)}

    shares = estimate(measure, len(labels), groups)
    return [
        {
            "low": int(number) / CALIBRATION_BINS,
            "high": (int(number) + 1) / CALIBRATION_BINS,
            "images": int((bins == number).sum()),
            "mean_probability": float(probabilities[bins == number].mean()),
            "share": shares[str(number)],
        }
        for number in filled
    ]


def _by(
    values: Sequence[str],
    records: Sequence[Record],
    probabilities: Probabilities,
    threshold: float,
    order: Sequence[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure by the values of a property, the most frequent first unless an order is given, unstated ones last."""
    counts = Counter(value for value in values if value)
    kept = [value for value in order if value in counts] if order else [v for v, _ in counts.most_common(_MOST_ROWS)]
    named = [value if value in kept else OTHERS if value else NOT_STATED for value in values]
    rows = [*kept, *(name for name in (OTHERS, NOT_STATED) if name in named)]
    return describe_each(rows, named, records, probabilities, threshold)
