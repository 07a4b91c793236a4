"""The 64:16:20 split, and folds: shuffled, seeded, stratified, and by group where groups are known."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
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

    @property
    def digest(self) -> str:
        """SHA-256 over which image is in which part, hexadecimal."""
        lines = (f"{name}\t{record.path}" for name, part in self.parts().items() for record in part)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


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
    return _held_out_in_turn(manifest, seed, FOLDS, 1)[0]


def folds(manifest: Manifest, seed: int, count: int) -> tuple[Split, ...]:
    """Split a manifest for cross-validation: every image is in the test part of one fold.

    The rest of a fold is split 80:20 into train and validation. All is by group and stratified, as in ``split``.

    Args:
        manifest: The images to cross-validate on.
        seed: Of the shuffle.
        count: Folds, at least 2.

    Raises:
        TrainingError: A class has too few groups to be in every part of every fold.
    """
    return _held_out_in_turn(manifest, seed, count, count)


def development(manifest: Manifest, seed: int) -> Manifest:
    """Leave out the test part of the 64:16:20 split, for whoever chooses among models.

    Raises:
        TrainingError: The manifest cannot be split.
    """
    test = {record.path for record in split(manifest, seed).test}
    return replace(manifest, records=tuple(r for r in manifest.records if r.path not in test))


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


def _held_out_in_turn(manifest: Manifest, seed: int, count: int, wanted: int) -> tuple[Split, ...]:
    """Hold out the first ``wanted`` of so many shares of the images, one share in each split."""
    records = np.array(manifest.records, dtype=object)
    strata, groups = _strata(manifest, 2 * max(count, FOLDS)), np.array(manifest.groups)
    splits = []
    for rest, test in islice(_shares(strata, groups, seed, count), wanted):
        train, validation = next(_shares(strata[rest], groups[rest], seed, FOLDS))
        result = Split(tuple(records[rest[train]]), tuple(records[rest[validation]]), tuple(records[test]))
        assert_disjoint(result)
        _assert_both_classes(result)
        splits.append(result)
    return tuple(splits)


def _assert_both_classes(parts: Split) -> None:
    for name, part in parts.parts().items():
        if 0 in count_classes(part):
            raise TrainingError(
                f"The {name} part would hold a single class: a few groups hold most images of the other."
            )


def _shares(
    strata: NDArray[np.str_], groups: NDArray[np.str_], seed: int, count: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the indices of the rest and of each of so many shares."""
    shares = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    yield from shares.split(np.zeros(len(strata)), strata, groups)


def _strata(manifest: Manifest, fewest: int) -> NDArray[np.str_]:
    """Name each record's stratum: its class and source; a source with few groups counts to its class's largest."""
    groups = Counter((label, source) for label, source, _ in {(r.label, r.source, r.group) for r in manifest.records})
    largest = []
    for label, name in enumerate(LABELS):
        count = len({r.group for r in manifest.records if r.label == label})
        if count < fewest:
            raise TrainingError(
                f"{name} has {count} groups of images. This split needs at least {fewest} of each class."
            )
        largest.append(max((n, source) for (of, source), n in groups.items() if of == label)[1])
    return np.array(
        [f"{r.label}/{r.source if groups[r.label, r.source] >= fewest else largest[r.label]}" for r in manifest.records]
    )
