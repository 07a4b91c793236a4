from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from app.errors import TrainingError
from training.manifest import Manifest, Record
from training.splits import Split, assert_disjoint, development, folds, limit_images, split

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.20}


def manifest_of(*records: tuple[int, str, str]) -> Manifest:
    """Make a manifest from (label, group, source), without files."""
    made = [
        Record(f"{label}/{i:05}.png", label, group, source, "", "") for i, (label, group, source) in enumerate(records)
    ]
    return Manifest(Path("nowhere"), tuple(sorted(made, key=lambda record: record.path)), grouped=True)


def many_groups(seed: int = 0) -> Manifest:
    """About 1,000 images in groups of 1 to 5, from two sources with both classes, one of a class, and a rare one."""
    rng = np.random.default_rng(seed)
    records = []
    for group in range(330):
        label = int(group % 3 == 0)
        source = "rare" if group in (3, 4) else f"only-{label}" if group % 4 == 0 else f"both-{group % 2}"
        records += [(label, f"g{group}", source)] * int(rng.integers(1, 6))
    return manifest_of(*records)


@pytest.mark.parametrize("seed", range(12))
def test_groups_stay_together_and_shares_and_classes_are_kept(seed: int) -> None:
    manifest = many_groups(seed)
    parts = split(manifest, seed)
    assert_disjoint(parts)
    assert sorted(r.path for part in parts.parts().values() for r in part) == [r.path for r in manifest.records]
    positive = np.mean(manifest.labels)
    for name, records in parts.parts().items():
        assert len(records) / len(manifest.records) == pytest.approx(SHARES[name], abs=0.03)
        assert np.mean([r.label for r in records]) == pytest.approx(positive, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_sources_are_stratified_within_each_class(seed: int) -> None:
    manifest = many_groups()
    whole = Counter((r.label, r.source) for r in manifest.records)
    for name, records in split(manifest, seed).parts().items():
        counts = Counter((r.label, r.source) for r in records)
        for stratum, count in whole.items():
            if stratum[1] != "rare":
                assert counts[stratum] / count == pytest.approx(SHARES[name], abs=0.08)


def test_the_split_depends_on_the_seed_alone() -> None:
    manifest = many_groups()
    assert split(manifest, 7) == split(manifest, 7)
    assert split(manifest, 7) != split(manifest, 8)


def test_parts_keep_the_order_of_the_manifest() -> None:
    for records in split(many_groups(), 7).parts().values():
        assert [r.path for r in records] == sorted(r.path for r in records)


def test_without_groups_the_split_is_by_image_and_exact() -> None:
    parts = split(manifest_of(*[(int(i >= 500), f"image-{i}", "") for i in range(1000)]), 7)
    assert {name: len(records) for name, records in parts.parts().items()} == {
        "train": 640,
        "validation": 160,
        "test": 200,
    }


@pytest.mark.parametrize("rare", [1, 2, 5, 9])
def test_a_rare_source_neither_warns_nor_fails(rare: int) -> None:
    records = [(i % 2, f"g{i}", "common") for i in range(60)] + [(1, f"r{i}", "rare") for i in range(rare)]
    assert len(split(manifest_of(*records), 7).test) > 0


def test_every_image_from_a_source_of_its_own() -> None:
    split(manifest_of(*[(i % 2, f"g{i}", f"s{i}") for i in range(40)]), 7)


@pytest.mark.parametrize("groups", [1, 9])
def test_too_few_groups_of_a_class_are_refused(groups: int) -> None:
    records = [(0, f"n{i}", "") for i in range(40)] + [(1, f"p{i % groups}", "") for i in range(40)]
    with pytest.raises(TrainingError, match=f"COVID-19 has {groups} groups .* needs at least 10"):
        split(manifest_of(*records), 7)


def test_ten_groups_of_a_class_suffice() -> None:
    records = [(label, f"{label}-{i}", "") for label in (0, 1) for i in range(10)]
    assert all({r.label for r in part} == {0, 1} for part in split(manifest_of(*records), 7).parts().values())


def test_a_part_with_a_single_class_is_refused() -> None:
    """Fifteen groups of very unequal sizes, found by a search."""
    rng = np.random.default_rng(7)
    records = []
    for group in range(int(rng.integers(10, 16))):
        for label in (0, 1):
            count = int(rng.choice([0, 1, 1, 2, 50, 300])) if rng.random() < 0.8 else 0
            records += [(label, f"g{group}", str(rng.integers(0, 2)))] * count
    with pytest.raises(TrainingError, match="a single class"):
        split(manifest_of(*records), 7)


def test_a_group_in_two_parts_is_found() -> None:
    one, other = (Record(f"0/{name}.png", 0, "patient", "", "", "") for name in "ab")
    with pytest.raises(TrainingError, match="'patient' is in both train and test"):
        assert_disjoint(Split((one,), (), (other,)))


@pytest.mark.parametrize("count", [100, 500])
def test_a_limit_keeps_whole_groups_and_the_classes_shares(count: int) -> None:
    manifest = many_groups()
    limited = limit_images(manifest, count, seed=1)
    assert count <= len(limited.records) <= count + 10  # Groups have at most five images.
    kept = {r.group for r in limited.records}
    assert [r for r in manifest.records if r.group in kept] == list(limited.records)
    assert np.mean(limited.labels) == pytest.approx(np.mean(manifest.labels), abs=0.03)
    assert limited == limit_images(manifest, count, seed=1) != limit_images(manifest, count, seed=2)


@pytest.mark.parametrize("count", [None, 10_000])
def test_no_limit_or_a_generous_one_keeps_all(count: int | None) -> None:
    manifest = many_groups()
    assert limit_images(manifest, count, seed=1) is manifest


@pytest.mark.parametrize("count", [2, 5, 10])
def test_each_image_is_held_out_by_one_fold_and_groups_stay_together(count: int) -> None:
    manifest = many_groups()
    parts = folds(manifest, 7, count)
    assert len(parts) == count
    assert sorted(r.path for fold in parts for r in fold.test) == [r.path for r in manifest.records]
    for fold in parts:
        assert_disjoint(fold)
        assert sorted(r.path for part in fold.parts().values() for r in part) == [r.path for r in manifest.records]
        assert len(fold.test) / len(manifest.records) == pytest.approx(1 / count, abs=0.04)
        assert len(fold.validation) / (len(fold.train) + len(fold.validation)) == pytest.approx(0.2, abs=0.04)


def test_folds_stratify_the_sources_of_each_class() -> None:
    manifest = many_groups()
    whole = Counter((r.label, r.source) for r in manifest.records)
    for fold in folds(manifest, 7, 5):
        counts = Counter((r.label, r.source) for r in fold.test)
        assert all(counts[of] / count == pytest.approx(0.2, abs=0.08) for of, count in whole.items() if of[1] != "rare")


def test_the_first_of_five_folds_is_the_usual_split() -> None:
    manifest = many_groups()
    assert folds(manifest, 7, 5)[0] == split(manifest, 7)


def test_development_leaves_out_the_test_part_alone() -> None:
    manifest = many_groups()
    parts = split(manifest, 7)
    kept = development(manifest, 7).records
    assert set(kept) == {*parts.train, *parts.validation}
    assert list(kept) == sorted(kept, key=lambda record: record.path)


def test_the_digest_of_a_split_tells_its_parts() -> None:
    first, second = folds(many_groups(), 7, 5)[:2]
    assert first.digest != second.digest
    assert first.digest != Split(first.test, first.validation, first.train).digest
    assert first.digest == split(many_groups(), 7).digest
