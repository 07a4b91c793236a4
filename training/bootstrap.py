"""The bootstrap by group: how often a round draws each image, and what a metric is worth in every round at once.

A round draws as many groups as there are, with replacement. A metric of a round is that of the images with their
counts as weights: the same number as of the repeated images, for all rounds in a few matrix products.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""How often each of N images was drawn, by round: (R, N)."""

Rounds = NDArray[np.float64]
"""A metric by round, (R,); NaN where the round holds nothing to estimate it from."""

CONFIDENCE: Final = 0.95

_CELLS_AT_ONCE: Final = 2_000_000
"""Images times rounds: bounds the memory to a few times 16 MB."""


def draw_groups(groups: Sequence[str], rounds: int, seed: int) -> Iterator[Counts]:
    """Draw groups of images, some rounds at a time; an equal seed gives equal draws.

    Args:
        groups: Of each of N images.
        rounds: How many, over all that is yielded.
        seed: Of the draws.
    """
    names, index = np.unique(np.array(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    at_once = max(_CELLS_AT_ONCE // len(groups), 1)
    for start in range(0, rounds, at_once):
        here = min(at_once, rounds - start)
        drawn = rng.integers(0, len(names), (here, len(names))) + len(names) * np.arange(here)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=here * len(names)).reshape(here, len(names))
        yield times[:, index]


def interval(rounds: Rounds) -> tuple[float, float]:
    """Return the 95 % percentile interval of a metric over the rounds that can estimate it."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(rounds, [tail, 1 - tail])
    return float(low), float(high)


def share(part: NDArray[np.bool_], of: NDArray[np.bool_], counts: Counts) -> Rounds:
    """Compute which share of some images is of some kind, by round; both masks are (N,)."""
    return ratio(counts @ (part & of), counts @ of)


def f1(actual: NDArray[np.bool_], predicted: NDArray[np.bool_], counts: Counts) -> Rounds:
    """Compute the F1 of a class by round, from masks (N,); NaN where no image is of the class."""
    of_class = counts @ actual
    found = ratio(2 * (counts @ (actual & predicted)), of_class + counts @ predicted)
    return np.where(of_class > 0, found, np.nan)


def ranking(
    positive: NDArray[np.bool_], probabilities: NDArray[np.floating[Any]], counts: Counts
) -> tuple[Rounds, Rounds]:
    """Compute the ROC AUC and the average precision by round.

    Equal probabilities are one step of either curve, as in scikit-learn.

    Args:
        positive: Whether each of N images is of the positive class.
        probabilities: Of that class, (N,).
        counts: (R, N).
    """
    order = np.argsort(-probabilities, kind="stable")
    steps = np.flatnonzero(np.diff(probabilities[order], prepend=np.inf))  # Where a new probability begins.
    drawn = counts[:, order]
    hits = np.add.reduceat(drawn * positive[order], steps, axis=1)  # (R, steps)
    false_alarms = np.add.reduceat(drawn * ~positive[order], steps, axis=1)
    found, answered = hits.cumsum(axis=1), (hits + false_alarms).cumsum(axis=1)
    pairs_in_order = (false_alarms * (found - hits / 2)).sum(axis=1)
    precision = found / np.maximum(answered, 1)
    positives, negatives = hits.sum(axis=1), false_alarms.sum(axis=1)
    average_precision = ratio((hits * precision).sum(axis=1), positives)
    return ratio(pairs_in_order, positives * negatives), np.where(negatives > 0, average_precision, np.nan)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Rounds:
    """Divide round by round; NaN where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0))
