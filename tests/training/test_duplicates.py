import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.imaging import to_square
from tests.images import encode
from tests.training.folders import picture
from training import duplicates
from training.duplicates import (
    HASH_SIDE,
    HASHED,
    LIMIT,
    Pair,
    describe_pairs,
    exact_duplicates,
    near_duplicates,
    perceptual_hash,
)
from training.manifest import Record
from training.splits import Split

Pixels = NDArray[np.uint8]


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(encode(pixels, "JPEG", quality=quality))))


def brightened(pixels: Pixels, gamma: float) -> Pixels:
    return np.rint(255 * (pixels / 255) ** gamma).astype(np.uint8)


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "encoded anew": lambda p: as_jpeg(p, 30),
    "halved": lambda p: np.asarray(Image.fromarray(p).resize((150, 150))),
    "stretched": lambda p: np.asarray(Image.fromarray(p).resize((400, 250))),
    "brightened": lambda p: brightened(p, 0.8),
    "darkened and encoded anew": lambda p: as_jpeg(brightened(p, 1.2), 50),
    "cropped by 1 %": lambda p: p[3:-3, 3:-3],
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_changed_copy_is_a_near_duplicate(copy: Callable[[Pixels], Pixels]) -> None:
    original = picture(5, 300, 300)
    hashes = np.stack(
        [perceptual_hash(to_square(p, version=HASHED)) for p in (original, copy(original), picture(6, 300, 300))]
    )
    pairs, beyond = near_duplicates(hashes, ["a", "b", "c"])
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1)]
    assert beyond is not None
    assert beyond.distance > LIMIT


def test_a_hash_has_the_documented_shape() -> None:
    assert perceptual_hash(to_square(picture(1), version=HASHED)).shape == (HASH_SIDE**2,)
    assert perceptual_hash(np.zeros((224, 224), np.uint8)).dtype == bool


def test_equal_files_are_paired_each_with_each() -> None:
    assert exact_duplicates(["a", "b", "a", "c", "a"]) == [Pair(0, 0, 2), Pair(0, 0, 4), Pair(0, 2, 4)]


def test_distances_count_differing_bits_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 3)
    hashes = np.random.default_rng(0).random((11, 64)) < 0.5
    digests = [str(i) for i in range(11)]
    distances = {Pair(int((hashes[i] != hashes[j]).sum()), i, j) for i in range(11) for j in range(i + 1, 11)}
    for limit in (0, 27, 32, 64):
        pairs, beyond = near_duplicates(hashes, digests, limit)
        assert pairs == sorted(pair for pair in distances if pair.distance <= limit)
        assert beyond == min((pair for pair in distances if pair.distance > limit), default=None)


def test_equal_files_are_no_near_duplicates() -> None:
    pairs, beyond = near_duplicates(np.zeros((3, 16), bool), ["a", "a", "b"])
    assert pairs == [Pair(0, 0, 2), Pair(0, 1, 2)]
    assert beyond is None


def test_pairs_are_counted_by_part_group_and_class() -> None:
    records = [Record(f"{i}.png", int(i == 3), group, "", "", f"digest{i}") for i, group in enumerate("ppqrs")]
    parts = Split(train=(records[0], records[1]), validation=(records[2],), test=(records[3], records[4]))
    pairs = [Pair(2, 0, 1), Pair(5, 1, 3), Pair(9, 3, 4)]
    facts = describe_pairs(pairs, records, parts, lambda record: record.sha256)
    assert (facts.pairs, facts.images, facts.between_groups, facts.between_classes) == (3, 4, 2, 2)
    assert {parts: n for parts, n in facts.by_parts.items() if n} == {"train": 1, "train / test": 1, "test": 1}
    assert set(facts.by_parts) >= {"validation", "train / validation", "validation / test"}
    assert facts.listed[1].files == ("digest1", "digest3")
    assert facts.listed[1].labels == ("non-COVID", "COVID-19")
    assert not facts.listed[1].same_group


def test_only_the_closest_pairs_are_listed() -> None:
    records = [Record(f"{i}.png", 0, str(i), "", "", "same") for i in range(30)]
    facts = describe_pairs(exact_duplicates(["same"] * 30), records, Split(tuple(records), (), ()), lambda r: r.path)
    assert facts.pairs == 435
    assert len(facts.listed) == 200
