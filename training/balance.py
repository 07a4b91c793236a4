"""Weights that keep a data set's sources from deciding what is learnt."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.manifest import Record


def balanced_weights(records: Sequence[Record], power: float) -> NDArray[np.float32] | None:
    """Weigh images whose pair of source and class is rare more than others.

    Where a source holds both classes, and others one alone, the few images of its rarer class are what tells the
    disease from the source. The idea is that of importance weights for groups (Sagawa et al., arXiv:1911.08731).

    Args:
        records: The training images.
        power: 0: none; 1: every pair of source and class weighs the same.

    Returns:
        float32 (N,) with a mean of 1; None where all weigh alike.
    """
    if not power:
        return None
    counts = Counter((record.source, record.label) for record in records)
    weights = np.array([counts[record.source, record.label] ** -power for record in records])
    return np.asarray(weights / weights.mean(), np.float32)
