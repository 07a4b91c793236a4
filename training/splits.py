"""The 64:16:20 split: shuffled, seeded, stratified, and by group where groups are known."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from app.errors import TrainingError
from training.manifest import LABELS, Manifest, Record, count_classes

FOLDS: Final = 5
"""20 % for test, then 20 % of the rest for validation: 64:16:20. Source: the original study."""


@dataclass(frozen=True, slots=True)
class Split:
    """Records of a manifest in three disjoint parts, each in the manifest's order."""

    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]

    def parts(self) -> dict[str, tuple[Record, ...]]:
        """Return the parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split(manifest: Manifest, seed: int) -> Split:
    """Split a manifest 64:16:20.

    Images of one group stay together. Classes, and where they are known and frequent enough sources,
    are stratified, so that a source with both classes can be estimated in every part.

    Args:
        manifest: The data set.
        seed: Of the shuffle.

    Raises:
        TrainingError: A class has too few groups to be in every part.
    """
    records = np.array(manifest.records, dtype=object)
    strata, groups = _strata(manifest), np.array(manifest.groups)
    rest, test = _hold_out(strata, groups, seed)
    train, validation = _hold_out(strata[rest], groups[rest], seed)
    result = Split(tuple(records[rest[train]]), tuple(records[rest[validation]]), tuple(records[test]))
    assert_disjoint(result)
    for name, part in result.parts().items():
        if 0 in count_classes(part):
            raise TrainingError(
                f"The {name} part would hold a single class: a few groups hold most images of the other."
            )
    return result


def limit_images(manifest: Manifest, count: int | None, seed: int) -> Manifest:
    """Choose about so many images at random, by whole groups and with the classes' shares, for a quick look.

    Args:
        manifest: The data set.
        count: Images to keep; None, or more than there are: all. Whole groups make it a few more.
        seed: Of the choice.
    """
    if count is None or count >= len(manifest.records):
        return manifest
    rng = np.random.default_rng(seed)
    kept: set[str] = set()
    for label, of_class in enumerate(count_classes(manifest.records)):
        sizes = Counter(r.group for r in manifest.records if r.label == label)
        wanted = count * of_class / len(manifest.records)
        for group in rng.permutation(sorted(sizes)):
            if wanted <= 0:
                break
            kept.add(str(group))
            wanted -= sizes[str(group)]
    return replace(manifest, records=tuple(r for r in manifest.records if r.group in kept))


def assert_disjoint(parts: Split) -> None:
    """Check that no group is in two parts.

    Raises:
        TrainingError: One is.
    """
    seen: dict[str, str] = {}
    for name, records in parts.parts().items():
        for record in records:
            if seen.setdefault(record.group, name) != name:
                raise TrainingError(f"Group {record.group!r} is in both {seen[record.group]} and {name}.")


def _hold_out(
    strata: NDArray[np.str_], groups: NDArray[np.str_], seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    rest, held_out = next(iter(folds.split(np.zeros(len(strata)), strata, groups)))
    return rest, held_out


def _strata(manifest: Manifest) -> NDArray[np.str_]:
    """Name each record's stratum: its class and source; a source with few groups counts to its class's largest."""
    groups = Counter((label, source) for label, source, _ in {(r.label, r.source, r.group) for r in manifest.records})
    largest = []
    for label, name in enumerate(LABELS):
        count = len({r.group for r in manifest.records if r.label == label})
        if count < 2 * FOLDS:
            raise TrainingError(
                f"{name} has {count} groups of images. A 64:16:20 split needs at least {2 * FOLDS} of each class."
            )
        largest.append(max((n, source) for (of, source), n in groups.items() if of == label)[1])
    return np.array(
        [
            f"{r.label}/{r.source if groups[r.label, r.source] >= 2 * FOLDS else largest[r.label]}"
            for r in manifest.records
        ]
    )
