"""What a data set consists of, measured: the content of the data card, free of identifiers.

Patient groups are counted and never named. Files are named by the first digits of their SHA-256, by their path
only if asked to. The fields are those of ``data_card.json``.
"""

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from app.imaging import GreyImage, to_square
from training.ages import age_band, age_years
from training.duplicates import (
    HASH_SIDE,
    HASHED,
    LIMIT,
    Duplicates,
    describe_pairs,
    exact_duplicates,
    near_duplicates,
    perceptual_hash,
)
from training.images import map_images
from training.manifest import LABELS, ClassCounts, Manifest, Record, count_by_class
from training.splits import Split, assert_disjoint, split

NOT_KNOWN: Final = "not known"
OTHER: Final = "other values"

OLDER_SET: Final = re.compile(
    r"person\d+_(bacteria|virus)_\d+|(NORMAL2?-)?IM-\d{4}-\d{4}|(BACTERIA|VIRUS|NORMAL)-\d{5,}-\d{4}", re.IGNORECASE
)
"""How the file names of a paediatric pneumonia set of 2018 begin.

Source: Kermany et al., Cell 172 (2018), doi:10.1016/j.cell.2018.02.010; names as in the copies in circulation. Only
the beginning counts: names of Indiana University's set (``CXR1_1_IM-0001-4001.png``) contain the like.
"""

_MOST_VALUES, _FEWEST_IMAGES = 20, 3
"""A value of a free-text column is listed if it is one of the most frequent, and not of one or two images only."""

_DIGEST_DIGITS: Final = 16


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class Part(_Facts):
    """One part of the split, or the whole."""

    images: ClassCounts
    groups: int


class SplitFacts(_Facts):
    """How the images are divided for training."""

    seed: int
    grouped_images: int = Field(description="Images whose group metadata.csv gives; the others stand for themselves.")
    groups_in_several_parts: int = Field(description="0: anything else is refused.")
    parts: dict[str, Part]


class Sizes(_Facts):
    """Stored sizes of one class and source, as width x height of the upright image, ordered by area."""

    label: str
    source: str
    images: int
    smallest: str
    median: str
    largest: str
    square_share: float = Field(description="Share of images with width equal to height.")


class Property(_Facts):
    """A property that says nothing about a lung, against the class."""

    known: int
    values: dict[str, ClassCounts]
    rule_accuracy: float | None = Field(
        description="Share of the images with a known value whose class a table of this property alone gives."
    )
    larger_class_share: float | None = Field(description="What always answering their larger class gives.")


class Skipped(_Facts):
    """Images left out because they cannot be read."""

    images: ClassCounts
    reasons: dict[str, int]
    files: list[str]


class DataFacts(_Facts):
    """Everything on the card."""

    manifest_digest: str
    total: Part
    sources: dict[str, Part]
    licences: dict[str, ClassCounts] = Field(description="Images by licence, as the sources give it.")
    split: SplitFacts
    sizes: list[Sizes]
    perceptual_hash: str
    exact_duplicates: Duplicates
    near_duplicates: Duplicates
    closest_beyond_limit_bits: int | None
    properties: dict[str, Property]
    median_age_years: dict[str, float | None]
    older_set_names: ClassCounts
    skipped: Skipped


@dataclass(frozen=True, slots=True)
class _Measured:
    """What one decoding of an image gives."""

    width: int
    height: int
    hash: NDArray[np.bool_]


def measure_data(manifest: Manifest, seed: int, *, list_files: bool = False, progress: str | None = None) -> DataFacts:
    """Measure a data set and its split.

    Args:
        manifest: The data set.
        seed: Of the split.
        list_files: Name files by their path and not by their digest.
        progress: Title of a bar on standard error; None: no bar.

    Raises:
        TrainingError: Images cannot be read, a class is too small to be split, or a group is in two parts.
    """
    records = manifest.records
    parts = split(manifest, seed)
    assert_disjoint(parts)
    images = map_images(manifest.root, records, _measure, progress)
    digests = [record.sha256 for record in records]
    near, beyond = near_duplicates(np.stack([image.hash for image in images]), digests)

    def name(record: Record) -> str:
        return record.path if list_files else record.sha256[:_DIGEST_DIGITS]

    return DataFacts(
        manifest_digest=manifest.digest,
        total=_part(records),
        sources=_by_source(records),
        licences=_by_licence(records),
        split=_split_facts(parts, seed),
        sizes=_sizes(records, images),
        perceptual_hash=f"DCT (ImageHash phash), {HASH_SIDE**2:,} bits, of which at most {LIMIT} differ",
        exact_duplicates=describe_pairs(exact_duplicates(digests), records, parts, name),
        near_duplicates=describe_pairs(near, records, parts, name),
        closest_beyond_limit_bits=beyond and beyond.distance,
        properties=_properties(records, images),
        median_age_years=_median_ages(records),
        older_set_names=count_by_class([r for r in records if is_of_older_set(r.path)]),
        skipped=Skipped(
            images=count_by_class([fault.record for fault in manifest.skipped]),
            reasons=dict(Counter(fault.code for fault in manifest.skipped)),
            files=[name(fault.record) for fault in manifest.skipped],
        ),
    )


def is_of_older_set(path: str) -> bool:
    """Tell by a file's name whether it is of a paediatric set that is older than COVID-19."""
    return OLDER_SET.match(PurePosixPath(path).name) is not None


def _measure(image: GreyImage) -> _Measured:
    return _Measured(image.width, image.height, perceptual_hash(to_square(image.pixels, version=HASHED)))


def _part(records: Sequence[Record]) -> Part:
    return Part(images=count_by_class(records), groups=len({record.group for record in records}))


def _by_source(records: Sequence[Record]) -> dict[str, Part]:
    names = _gather_rare([record.source or NOT_KNOWN for record in records])
    return {
        name: _part([record for record, of in zip(records, names, strict=True) if of == name])
        for name, _ in Counter(names).most_common()
    }


def _by_licence(records: Sequence[Record]) -> dict[str, ClassCounts]:
    names = [record.licence or NOT_KNOWN for record in records]
    return {
        name: count_by_class([record for record, of in zip(records, names, strict=True) if of == name])
        for name, _ in Counter(names).most_common()
    }


def _split_facts(parts: Split, seed: int) -> SplitFacts:
    placed = {(record.group, name) for name, records in parts.parts().items() for record in records}
    per_group = Counter(group for group, _ in placed)
    return SplitFacts(
        seed=seed,
        grouped_images=sum(record.group != record.path for records in parts.parts().values() for record in records),
        groups_in_several_parts=sum(count > 1 for count in per_group.values()),
        parts={name: _part(records) for name, records in parts.parts().items()},
    )


def _sizes(records: Sequence[Record], images: Sequence[_Measured]) -> list[Sizes]:
    names = _gather_rare([record.source or NOT_KNOWN for record in records])
    of: dict[tuple[int, str], list[_Measured]] = {}
    for record, source, image in zip(records, names, images, strict=True):
        of.setdefault((record.label, source), []).append(image)
    facts = []
    for (label, source), members in sorted(of.items()):
        members.sort(key=lambda image: (image.width * image.height, image.width))
        smallest, median, largest = (members[i] for i in (0, (len(members) - 1) // 2, -1))
        facts.append(
            Sizes(
                label=LABELS[label],
                source=source,
                images=len(members),
                smallest=f"{smallest.width} x {smallest.height}",
                median=f"{median.width} x {median.height}",
                largest=f"{largest.width} x {largest.height}",
                square_share=sum(image.width == image.height for image in members) / len(members),
            )
        )
    return facts


def _properties(records: Sequence[Record], images: Sequence[_Measured]) -> dict[str, Property]:
    columns = {
        "shape": [_shape(image) for image in images],
        "source": [r.source or NOT_KNOWN for r in records],
        "view": [r.view or NOT_KNOWN for r in records],
        "age": [age_band(r.age) or NOT_KNOWN for r in records],
        "sex": [r.sex or NOT_KNOWN for r in records],
    }
    return {name: _property(values, records) for name, values in columns.items()}


def _property(values: Sequence[str], records: Sequence[Record]) -> Property:
    names = _gather_rare(values)
    table = {
        name: count_by_class([record for record, value in zip(records, names, strict=True) if value == name])
        for name, _ in Counter(names).most_common()
    }
    known = [counts for name, counts in table.items() if name != NOT_KNOWN]
    images = sum(sum(counts.values()) for counts in known)
    larger_class = max(sum(counts[label] for counts in known) for label in LABELS)
    return Property(
        known=images,
        values=table,
        rule_accuracy=sum(max(counts.values()) for counts in known) / images if images else None,
        larger_class_share=larger_class / images if images else None,
    )


def _gather_rare(values: Sequence[str]) -> list[str]:
    listed = {value for value, count in Counter(values).most_common(_MOST_VALUES) if count >= _FEWEST_IMAGES}
    return [value if value in listed | {NOT_KNOWN} else OTHER for value in values]


def _shape(image: _Measured) -> str:
    if image.width == image.height:
        return "square"
    return "wider than high" if image.width > image.height else "higher than wide"


def _median_ages(records: Sequence[Record]) -> dict[str, float | None]:
    ages: dict[str, list[float]] = {name: [] for name in LABELS}
    for record in records:
        if (years := age_years(record.age)) is not None:
            ages[LABELS[record.label]].append(years)
    return {name: statistics.median(of) if of else None for name, of in ages.items()}
