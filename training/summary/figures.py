"""What the page for clinicians says, as figures: measured by image, with intervals by patient."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import binomtest

from training.bootstrap import CONFIDENCE
from training.breakdown import PROPERTIES, break_down
from training.manifest import LABELS, POSITIVE, ClassCounts, count_by_class
from training.measures import Estimate
from training.prevalence import PREVALENCES, predictive_values
from training.results import Evidence

FEWEST_PATIENTS: Final = 10
"""Of a class, for the bootstrap over patients; below, and where all are right or all wrong, an interval is the exact
binomial one of so many patients (Clopper and Pearson, doi:10.1093/biomet/26.4.404). The number is ours."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class Row(_Figures):
    """The images of one value of a property."""

    of: str
    value: str
    images: ClassCounts
    patients: ClassCounts
    sensitivity: Estimate | None
    specificity: Estimate | None


class Bin(_Figures):
    """Images of about one probability."""

    images: int
    mean_probability: float
    share: Estimate


class AtPrevalence(_Figures):
    """What answers are worth where COVID-19 is as frequent as stated."""

    prevalence: float
    positive: Estimate | None = Field(description="Share with COVID-19 among those called COVID-19.")
    negative: Estimate | None = Field(description="Share without COVID-19 among the others.")


class Figures(_Figures):
    """All figures of the page; None where a class is missing."""

    title: str
    digest: str
    threshold: float
    images: ClassCounts
    patients: ClassCounts
    images_with_patient: int = Field(description="Images whose patient the table gives; the others count as one each.")
    skipped: ClassCounts = Field(description="Images that could not be read.")
    refused: ClassCounts | None = Field(description="Images that the input gate refused; None: there is no gate.")
    seen_images: int = Field(description="Images that the model was trained on.")
    only_answer: str | None = Field(description="The class that the model answers for every image, if it does.")
    sensitivity: Estimate | None
    specificity: Estimate | None
    roc_auc: Estimate | None
    accuracy: Estimate
    larger_class_share: float = Field(description="How often always answering the larger class is right.")
    rules: dict[str, dict[str, float]]
    calibration_error: Estimate
    bins: list[Bin]
    at_prevalences: list[AtPrevalence]
    rows: list[Row]


def measure_summary(evidence: Evidence, prevalences: Sequence[float] = PREVALENCES) -> Figures:
    """Measure what the page says about one model on a folder.

    Args:
        evidence: Of one model and one part.
        prevalences: Stated by the user, for the predictive values.
    """
    [model] = evidence.models
    [answers] = model.parts.values()
    probabilities = answers.probabilities
    described = break_down(answers.records, probabilities, model.threshold, prevalences)
    metrics = described["metrics"]
    sensitivity, specificity = _shares(described)
    called = {bool(answer) for answer in probabilities >= model.threshold}
    return Figures(
        title=evidence.title,
        digest=evidence.environment.get("model digest", "not known"),
        threshold=model.threshold,
        images=described["images"],
        patients=described["groups"],
        images_with_patient=sum(record.group != record.path for record in answers.records),
        skipped=count_by_class([f.record for f in evidence.manifest.skipped]),
        refused=evidence.refused and dict(evidence.refused),
        seen_images=evidence.seen_images,
        only_answer=LABELS[POSITIVE if called.pop() else 1 - POSITIVE] if len(called) == 1 else None,
        sensitivity=sensitivity,
        specificity=specificity,
        roc_auc=metrics.get("roc_auc"),
        accuracy=metrics["accuracy"],
        larger_class_share=max(described["images"].values()) / len(probabilities),
        rules={name: dict(rule) for name, rule in evidence.trivial_rules.items()},
        calibration_error=metrics["expected_calibration_error"],
        bins=described["calibration"],
        at_prevalences=[_at_prevalence(of, sensitivity, specificity) for of in described["predictive_values"]],
        rows=[
            _row(of, name, measured) for field, of in PROPERTIES.items() for name, measured in described[field].items()
        ],
    )


def _row(of: str, value: str, described: Mapping[str, Any]) -> Row:
    sensitivity, specificity = _shares(described)
    return Row(
        of=of,
        value="not stated" if value == "unknown" else value,
        images=described["images"],
        patients=described["groups"],
        sensitivity=sensitivity,
        specificity=specificity,
    )


def _shares(described: Mapping[str, Any]) -> tuple[Estimate | None, Estimate | None]:
    """Take sensitivity and specificity with intervals that also hold for few patients."""
    positives, negatives = described["groups"][LABELS[POSITIVE]], described["groups"][LABELS[1 - POSITIVE]]
    metrics = described["metrics"]
    return _share(metrics.get("sensitivity"), positives), _share(metrics.get("specificity"), negatives)


def _share(measured: Mapping[str, float] | None, patients: int) -> Estimate | None:
    if measured is None:
        return None
    if patients >= FEWEST_PATIENTS and measured["low"] < measured["high"]:
        return Estimate.model_validate(measured)
    right = round(measured["value"] * patients)
    exact = binomtest(right, patients).proportion_ci(CONFIDENCE, "exact")
    return Estimate(
        value=measured["value"],
        low=min(float(exact.low), measured["value"]),
        high=max(float(exact.high), measured["value"]),
    )


def _at_prevalence(
    described: Mapping[str, Any], sensitivity: Estimate | None, specificity: Estimate | None
) -> AtPrevalence:
    """Take the predictive values; the interval spans what the ends of sensitivity and specificity give, where wider."""
    prevalence = described["prevalence"]
    if not (sensitivity and specificity):
        return AtPrevalence(prevalence=prevalence, positive=None, negative=None)
    ends = [
        predictive_values(np.array([getattr(sensitivity, end)]), np.array([getattr(specificity, end)]), prevalence)
        for end in ("low", "high")
    ]
    widened = {}
    for index, kind in enumerate(("positive", "negative")):
        measured = described[kind]
        bounds = [float(end[index][0]) for end in ends if not np.isnan(end[index][0])]
        widened[kind] = measured and Estimate(
            value=measured["value"], low=min(measured["low"], *bounds), high=max(measured["high"], *bounds)
        )
    return AtPrevalence(prevalence=prevalence, **widened)
