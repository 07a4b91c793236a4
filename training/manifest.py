"""A folder of radiographs as a table: file, label, group, source."""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import TrainingError

LABELS: Final = ("non-COVID", "COVID-19")
"""Class names in the order of the network's outputs."""

POSITIVE: Final = 1
"""Index of COVID-19 in ``LABELS``."""

CLASS_FOLDERS: Final = (("0", "1"), ("non-COVID", "COVID-19"))
"""Folder names of the two classes. Source: the Kaggle set, and what the original study's README calls them."""

_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ""})


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set.

    Attributes:
        path: Relative to the data folder, with forward slashes.
        label: Index into ``LABELS``.
        group: What must stay on one side of a split (a patient, a publication); the path where unknown.
        source: Where the image was taken from; "" where unknown.
        licence: As the source gives it; "" where unknown.
        sha256: Digest of the file's bytes, hexadecimal.
        view: Projection (AP, PA, ...) as the source gives it; "" where unknown.
        age: Of the patient, as the source gives it; "" where unknown.
        sex: Of the patient, as the source gives it; "" where unknown.
    """

    path: str
    label: int
    group: str
    source: str
    licence: str
    sha256: str
    view: str = ""
    age: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that was left out because it cannot be decoded.

    Attributes:
        record: What is known of it nevertheless.
        code: Of the error that the decoder raised.
        reason: That error's message; names no file.
    """

    record: Record
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All images of a data folder, sorted by path.

    Attributes:
        root: The data folder.
        records: One a file.
        grouped: Whether ``metadata.csv`` gave every image its group.
        skipped: Images of the folder that were left out of ``records``; no part of the digest.
    """

    root: Path
    records: tuple[Record, ...]
    grouped: bool
    skipped: tuple[Unreadable, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides a split and what is in it: path, label, group, source and file digest."""
        lines = (f"{r.path}\t{r.label}\t{r.group}\t{r.source}\t{r.sha256}" for r in self.records)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def labels(self) -> list[int]:
        """Label of each record."""
        return [record.label for record in self.records]

    @property
    def groups(self) -> list[str]:
        """Group of each record."""
        return [record.group for record in self.records]


def read_manifest(root: Path, *, both_classes: bool = True) -> Manifest:
    """List a Kaggle-style data folder.

    Args:
        root: A folder that holds ``0/`` and ``1/``, or ``non-COVID/`` and ``COVID-19/``, and optionally
            ``metadata.csv`` with the column ``path`` and any of ``label``, ``group``, ``source``, ``licence``,
            ``view``, ``age``, ``sex``.
        both_classes: Whether both classes must be there; otherwise one folder may be empty or missing.

    Raises:
        TrainingError: Class folders are missing or empty, or the table contradicts the folders.
    """
    folders = _class_folders(root, all if both_classes else any)
    table = _read_table(root)
    records = []
    for label, folder in enumerate(folders):
        files = sorted(p for p in folder.rglob("*") if _is_image(p, folder))
        if not files and both_classes:
            raise TrainingError(f"{folder} holds no images. Put the {LABELS[label]} images there.")
        records += [_record(root, path, label, table) for path in files]
    if not records:
        raise TrainingError(f"{root} holds no images. Put them into the folders of their classes.")
    records.sort(key=lambda record: record.path)
    grouped = all(table.get(record.path, {}).get("group") for record in records)
    return Manifest(root, tuple(records), grouped)


ClassCounts = dict[str, int]
"""Images or groups by the names in ``LABELS``."""


def count_classes(records: Sequence[Record]) -> tuple[int, int]:
    """Count images of each class, in the order of ``LABELS``."""
    counts = Counter(record.label for record in records)
    return counts[0], counts[1]


def count_by_class(records: Sequence[Record]) -> ClassCounts:
    """Count images of each class by its name."""
    return dict(zip(LABELS, count_classes(records), strict=True))


def _class_folders(root: Path, enough: Callable[[Iterable[bool]], bool]) -> tuple[Path, Path]:
    for names in CLASS_FOLDERS:
        folders = (root / names[0], root / names[1])
        if enough(folder.is_dir() for folder in folders):
            return folders
    accepted = " or ".join(f"'{negative}/' and '{positive}/'" for negative, positive in CLASS_FOLDERS)
    found = ", ".join(sorted(p.name for p in root.iterdir())[:10]) if root.is_dir() else "nothing: no such folder"
    raise TrainingError(f"{root} must hold the class folders {accepted} (non-COVID and COVID-19). Found: {found}.")


def _is_image(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in _SUFFIXES and path.is_file()


def _read_table(root: Path) -> dict[str, dict[str, str]]:
    path = root / "metadata.csv"
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel writes a mark in front.
            rows = list(csv.DictReader(file, restval=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{path} cannot be read: {error}. Save it as CSV in UTF-8.") from error
    if rows and "path" not in rows[0]:
        raise TrainingError(f"{path} has no column 'path'. Found: {', '.join(rows[0])}.")
    return {row["path"]: row for row in rows}


def _record(root: Path, path: Path, label: int, table: dict[str, dict[str, str]]) -> Record:
    relative = path.relative_to(root).as_posix()
    row = table.get(relative, {})
    if row.get("label") not in (None, "", str(label)):
        raise TrainingError(
            f"{relative} lies in the folder of {LABELS[label]}, but metadata.csv gives it label {row['label']}."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {name: row.get(name) or "" for name in ("source", "licence", "view", "age", "sex")}
    return Record(relative, label, row.get("group") or relative, sha256=digest, **known)
