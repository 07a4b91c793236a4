"""Whether a model's features tell where an image was taken from, which no feature of a disease would."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.bootstrap import Counts, Rounds, share
from training.evaluate import estimate
from training.manifest import Record
from training.probe.measures import SourcesTold

FOLDS: Final = 5

FEWEST_GROUPS: Final = 2 * FOLDS
"""Of a source, so that it is in every fold; those with fewer are left out."""

_SEED: Final = 0
_MOST_STEPS: Final = 5_000


def tell_sources(features: NDArray[np.float32], records: Sequence[Record]) -> SourcesTold | None:
    """Predict each image's source from its features, by a rule fitted on other groups.

    The rule is a multinomial logistic regression on standardised features with scikit-learn's L2 penalty (C = 1),
    not tuned: a better one may tell more. Cross-validated by group.

    Args:
        features: Of N images, float32 (N, D).
        records: The images.

    Returns:
        None where fewer than two sources have enough groups.
    """
    groups_of = Counter(source for source, _ in {(record.source, record.group) for record in records})
    sources = sorted(name for name, groups in groups_of.items() if name and groups >= FEWEST_GROUPS)
    if len(sources) < 2:
        return None
    chosen = np.array([record.source in sources for record in records])
    kept = [record for record, of in zip(records, chosen, strict=True) if of]
    true = np.array([sources.index(record.source) for record in kept])
    groups = [record.group for record in kept]
    rule = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MOST_STEPS))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=_SEED)
    told = cross_val_predict(rule, features[chosen], true, groups=groups, cv=folds)
    figures = estimate(lambda counts: _figures(true, told, counts), len(kept), groups)
    images = Counter(record.source for record in kept)
    return SourcesTold.model_validate(
        {
            "images": dict(images),
            "left_out": dict(Counter(r.source or "unknown" for r, of in zip(records, chosen, strict=True) if not of)),
            "folds": FOLDS,
            **figures,
            "majority_accuracy": max(images.values()) / len(kept),
            "majority_balanced_accuracy": 1 / len(sources),
        }
    )


def _figures(true: NDArray[np.int64], told: NDArray[np.int64], counts: Counts) -> Mapping[str, Rounds]:
    of_source = [share(told == source, true == source, counts) for source in np.unique(true)]
    return {
        "accuracy": share(true == told, np.ones(len(true), bool), counts),
        "balanced_accuracy": np.nanmean(of_source, axis=0),
    }
