"""Copies of an image within a data set: equal files by digest, near-duplicates by perceptual hash."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from training.manifest import LABELS, Record
from training.splits import Split

HASH_SIDE: Final = 32
"""Lowest frequencies a direction of the DCT hash: 1,024 bits.

On the radiographs of the shipped model's data set the usual 64 bits put unrelated patients 2 bits apart, and 256
bits lost copies with a burned-in mark that 1,024 find. At a limit that admits no unrelated pair, average and wavelet
hashes found clearly fewer of the copies than the DCT hash, the difference hash about as many.
"""

HASHED: Final = 1
"""Preprocessing version of the squares that are hashed: of whole images, whichever part a model sees of them. ``LIMIT``
was found with it."""

LIMIT: Final = 300
"""Most bits that differ between near-duplicates.

Source: the 1,684 images of that data set. Of the 1.4 million pairs the closest of two patients are 338
bits apart and the closest of one patient 314 (two exposures); these and the next were looked at, and none is a
copy. Copies made of 100 of the images are at most 220 bits from their originals if encoded anew (JPEG quality 10),
halved in size, brightened (gamma 0.5 to 2), cropped by 1 % a side or rotated by 1 degree. Within 300 bits are 99 %
of those with a burned-in box, 83 % of those cropped by 2 %, none of those cropped by 3 %.
"""

MISSED: Final = "Copies that are mirrored, inverted, rotated by 3 degrees or cropped by 3 % a side or more are missed."

_BLOCK: Final = 1024
_LISTED_PAIRS: Final = 200


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two images of a data set; ordered by distance.

    Attributes:
        distance: Bits of the perceptual hash that differ; 0 for equal files.
        first: Index of one.
        second: Index of the other, larger than ``first``.
    """

    distance: int
    first: int
    second: int


class ListedPair(BaseModel):
    """Two images that are copies of each other."""

    model_config = ConfigDict(frozen=True)

    distance_bits: int
    files: tuple[str, str] = Field(description="Digests, or paths if the owner asked for them.")
    parts: tuple[str, str]
    labels: tuple[str, str]
    same_group: bool


class Duplicates(BaseModel):
    """Pairs of one kind, exact or near."""

    model_config = ConfigDict(frozen=True)

    pairs: int
    images: int = Field(description="Images that are in any of the pairs.")
    between_groups: int
    between_classes: int
    by_parts: dict[str, int] = Field(description="Pairs within a part, or between two parts: 'train / test'.")
    listed: list[ListedPair] = Field(description=f"The closest, at most {_LISTED_PAIRS}.")


def perceptual_hash(square: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Hash an image, so that images that look alike differ in few bits.

    Args:
        square: The image, preprocessed in version ``HASHED``: grey levels, uint8, shape (S, S).

    Returns:
        Whether each of the lowest DCT coefficients is above their median, bool (HASH_SIDE ** 2,).
    """
    return np.asarray(imagehash.phash(Image.fromarray(square), HASH_SIDE).hash).ravel()


def exact_duplicates(digests: Sequence[str]) -> list[Pair]:
    """Pair equal files.

    Args:
        digests: SHA-256 of N files.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        members[digest].append(index)
    return sorted(Pair(0, *pair) for indices in members.values() for pair in combinations(indices, 2))


def near_duplicates(
    hashes: NDArray[np.bool_], digests: Sequence[str], limit: int = LIMIT
) -> tuple[list[Pair], Pair | None]:
    """Pair images that look alike although their files differ.

    Args:
        hashes: Perceptual hashes, bool (N, bits).
        digests: SHA-256 of the N files.
        limit: Most bits that differ.

    Returns:
        The pairs within the limit, closest first, and the closest pair beyond it (None if there is none).
    """
    bits = hashes.astype(np.float32)
    ones = bits.sum(axis=1)
    pairs, beyond = [], None
    for start in range(0, len(bits), _BLOCK):
        block = bits[start : start + _BLOCK]
        distances = ones[start : start + _BLOCK, np.newaxis] + ones - 2 * block @ bits.T  # (B, N)
        distances[np.tril_indices(len(block), start, len(bits))] = np.inf  # Each pair once, none with itself.
        within = np.argwhere(distances <= limit)
        pairs += [Pair(int(distances[i, j]), start + int(i), int(j)) for i, j in within]
        distances[distances <= limit] = np.inf
        row, column = np.unravel_index(np.argmin(distances), distances.shape)
        if np.isfinite(distances[row, column]):
            found = Pair(int(distances[row, column]), start + int(row), int(column))
            beyond = min(beyond or found, found)
    return sorted(pair for pair in pairs if digests[pair.first] != digests[pair.second]), beyond


def describe_pairs(
    pairs: Sequence[Pair], records: Sequence[Record], parts: Split, name: Callable[[Record], str]
) -> Duplicates:
    """Count pairs by where the split has put their images.

    Args:
        pairs: With indices into ``records``.
        records: All images, in the manifest's order.
        parts: Their split.
        name: What to call an image.
    """
    order = list(parts.parts())
    part_of = {record.path: part for part, members in parts.parts().items() for record in members}
    found = [(pair.distance, records[pair.first], records[pair.second]) for pair in pairs]
    placed = Counter(tuple(sorted((part_of[a.path], part_of[b.path]), key=order.index)) for _, a, b in found)
    return Duplicates(
        pairs=len(pairs),
        images=len({index for pair in pairs for index in (pair.first, pair.second)}),
        between_groups=sum(a.group != b.group for _, a, b in found),
        between_classes=sum(a.label != b.label for _, a, b in found),
        by_parts={
            one if one == other else f"{one} / {other}": placed[one, other]
            for one, other in combinations_with_replacement(order, 2)
        },
        listed=[
            ListedPair(
                distance_bits=distance,
                files=(name(a), name(b)),
                parts=(part_of[a.path], part_of[b.path]),
                labels=(LABELS[a.label], LABELS[b.label]),
                same_group=a.group == b.group,
            )
            for distance, a, b in found[:_LISTED_PAIRS]
        ],
    )
