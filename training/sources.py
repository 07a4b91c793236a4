"""What answers are worth within each source that holds both classes, where telling the sources apart does not help."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from training.bootstrap import Counts, Rounds, ranking
from training.card_results import FEWEST_IMAGES, WITHIN
from training.evaluate import estimate, metrics_by_round
from training.manifest import LABELS, POSITIVE, ClassCounts, Record
from training.measures import Estimate

Estimates = dict[str, dict[str, float]]
"""By metric ``value``, ``low`` and ``high``, as ``evaluate.estimate`` returns them."""


class SourceCounts(BaseModel):
    """What there is of a source."""

    model_config = ConfigDict(frozen=True)

    images: ClassCounts
    groups: ClassCounts


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What was answered for N images, each by one model.

    Attributes:
        records: The images.
        probabilities: Of COVID-19, (N,).
        thresholds: Of the model that answered, (N,): from it on the answer is COVID-19.
    """

    records: tuple[Record, ...]
    probabilities: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the labels, (N,)."""
        return np.array([record.label for record in self.records])

    def of(self, chosen: NDArray[np.bool_]) -> "Answered":
        """Return what was answered for some of the images."""
        records = tuple(record for record, of in zip(self.records, chosen, strict=True) if of)
        return Answered(records, self.probabilities[chosen], self.thresholds[chosen])


def sources_with_both_classes(records: Sequence[Record]) -> list[str]:
    """Name the sources that hold images enough of each class for a figure (``FEWEST_IMAGES``)."""
    counts = Counter((record.source, record.label) for record in records)
    names = sorted({record.source for record in records if record.source})
    return [name for name in names if all(counts[name, label] >= FEWEST_IMAGES for label in range(len(LABELS)))]


def count_sources(records: Sequence[Record]) -> dict[str, SourceCounts]:
    """Count images and groups by class of each source that holds both classes in number."""
    return {
        name: SourceCounts(
            images=_by_class([record.label for record in records if record.source == name]),
            groups=_by_class([label for label, _ in {(r.label, r.group) for r in records if r.source == name}]),
        )
        for name in sources_with_both_classes(records)
    }


def within(source: str) -> str:
    """Name the ROC AUC within a source, as ``measure`` does."""
    return f"{WITHIN}{source}"


def measure(answered: Answered) -> Estimates:
    """Compute the metrics of ``evaluate.metrics_by_round``, and the ROC AUC within each source with both classes.

    Returns:
        With 95 % bootstrap intervals by group.
    """
    return estimate(_figures(answered), len(answered.records), _groups(answered.records))


def measure_difference(answered: Answered, reference: Answered, metrics: Sequence[str]) -> Estimates:
    """Compute by how much figures are above those of other answers for the same images.

    Args:
        answered: Whose.
        reference: For the same images, in the same order.
        metrics: Which, of those that ``measure`` returns.

    Returns:
        Paired differences with 95 % bootstrap intervals by group; what cannot be estimated is left out.
    """
    assert answered.records == reference.records
    ours, theirs = _figures(answered), _figures(reference)

    def differ(counts: Counts) -> Mapping[str, Rounds]:
        left, right = ours(counts), theirs(counts)
        return {name: left[name] - right[name] for name in metrics if name in left}

    return estimate(differ, len(answered.records), _groups(answered.records))


def measure_view_rule(records: Sequence[Record]) -> dict[str, Estimate]:
    """Compute within each source with both classes what it is worth to know the view alone: COVID-19 if taken AP.

    Immobile and critically ill patients are radiographed anteroposterior (AP), others mostly posteroanterior (PA), so
    that the view goes with how ill somebody is (doi:10.3390/jimaging12050187, section 1). A model that is not shown to
    tell more than that within a source is not shown to tell the disease.

    Returns:
        ROC AUC by source, with 95 % bootstrap intervals by group. Images whose view is not stated as AP or PA are
        left out, and sources of which too few are left.
    """
    known = [record for record in records if record.view.upper().startswith(("AP", "PA"))]
    if not known:
        return {}
    taken_ap = np.array([record.view.upper().startswith("AP") for record in known], np.float64)
    measured = estimate(_areas_within(known, taken_ap), len(known), _groups(known))
    return {name.removeprefix(WITHIN): Estimate.model_validate(area) for name, area in measured.items()}


def counts_text(counts: SourceCounts) -> str:
    """Tell images and groups by class."""
    return " and ".join(f"{counts.images[label]:,} {label} in {counts.groups[label]:,} groups" for label in LABELS)


def difference_text(difference: Estimate | None) -> str:
    """Format a difference with its interval; None is one that cannot be estimated."""
    if difference is None:
        return "not estimable"
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def compared(records: Sequence[Record]) -> list[str]:
    """Name the metrics by which two sets of answers for these images are compared."""
    return ["accuracy", "roc_auc", *map(within, sources_with_both_classes(records))]


def _by_class(labels: Sequence[int]) -> ClassCounts:
    return {name: labels.count(label) for label, name in enumerate(LABELS)}


def _groups(records: Sequence[Record]) -> list[str]:
    return [record.group for record in records]


def _figures(answered: Answered) -> Callable[[Counts], dict[str, Rounds]]:
    labels, inside = answered.labels, _areas_within(answered.records, answered.probabilities)

    def figures(counts: Counts) -> dict[str, Rounds]:
        return metrics_by_round(labels, answered.probabilities, answered.thresholds, counts) | inside(counts)

    return figures


def _areas_within(records: Sequence[Record], scores: NDArray[np.float64]) -> Callable[[Counts], dict[str, Rounds]]:
    """Prepare the ROC AUC of scores (N,) within each source that holds both classes, by round."""
    positive = np.array([record.label for record in records]) == POSITIVE
    sources = np.array([record.source for record in records])
    members = {name: sources == name for name in sources_with_both_classes(records)}

    def areas(counts: Counts) -> dict[str, Rounds]:
        return {
            within(name): ranking(positive[here], scores[here], counts[:, here])[0] for name, here in members.items()
        }

    return areas
