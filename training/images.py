"""Image files to grey images, many at a time: those that cannot be read are named together, or left out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import track

from app.errors import TrainingError, UploadError
from app.imaging import DecodeLimits, GreyImage
from app.imaging.decode import decode
from training.manifest import LABELS, Manifest, Record, Unreadable

LIMITS: Final = DecodeLimits(max_pixels=10**9)
"""A data set is its owner's own: the service's limits on strangers' uploads do not hold for it."""

_NAMED: Final = 20
"""Unreadable files that a message names; of more it gives the number."""

T = TypeVar("T")


def map_images(
    root: Path, records: Sequence[Record], measure: Callable[[GreyImage], T], progress: str | None = None
) -> list[T]:
    """Decode images and take from each what is needed, without ever holding all of them.

    Args:
        root: The data folder.
        records: N images.
        measure: What to take; called in several threads.
        progress: Title of a bar on standard error; None: no bar.

    Returns:
        N results of ``measure``, in the order of the records.

    Raises:
        TrainingError: Images cannot be read; the message names them.
    """
    outcomes = _attempt(root, records, measure, progress)
    if unreadable := [outcome for outcome in outcomes if isinstance(outcome, Unreadable)]:
        raise TrainingError(_name_all(root, unreadable))
    return [outcome for outcome in outcomes if not isinstance(outcome, Unreadable)]


def leave_out_unreadable(manifest: Manifest, progress: str | None = None) -> Manifest:
    """Decode every image of a manifest and keep those that can be read.

    Args:
        manifest: Whatever the data folder holds.
        progress: Title of a bar on standard error; None: no bar.

    Returns:
        The readable records in their order, with the others in ``skipped``; equal if all can be read.

    Raises:
        TrainingError: Nothing of a class is left.
    """
    outcomes = _attempt(manifest.root, manifest.records, lambda image: image.format, progress)
    unreadable = tuple(outcome for outcome in outcomes if isinstance(outcome, Unreadable))
    left_out = {fault.record.path for fault in unreadable}
    readable = tuple(record for record in manifest.records if record.path not in left_out)
    for label, name in enumerate(LABELS):
        before = {record.label for record in manifest.records}
        if label in before and all(record.label != label for record in readable):
            raise TrainingError(f"No {name} image can be read. {_name_all(manifest.root, unreadable)}")
    return replace(manifest, records=readable, skipped=manifest.skipped + unreadable)


def _attempt(
    root: Path, records: Sequence[Record], measure: Callable[[GreyImage], T], progress: str | None
) -> list[T | Unreadable]:
    def attempt(record: Record) -> T | Unreadable:
        try:
            return measure(decode((root / record.path).read_bytes(), LIMITS))
        except UploadError as error:
            return Unreadable(record, error.code, str(error))

    with ThreadPoolExecutor() as pool:
        outcomes = pool.map(attempt, records)
        if progress is None:
            return list(outcomes)
        console = Console(stderr=True)
        return list(track(outcomes, progress, len(records), console=console, disable=not console.is_terminal))


def _name_all(root: Path, unreadable: Sequence[Unreadable]) -> str:
    named = "\n".join(f"{root / fault.record.path}: {fault.reason}" for fault in unreadable[:_NAMED])
    more = f"\nand {len(unreadable) - _NAMED} more." if len(unreadable) > _NAMED else ""
    what = "1 image" if len(unreadable) == 1 else f"{len(unreadable)} images"
    return f"{what} cannot be read. Mend or remove, or leave out with --skip-unreadable:\n{named}{more}"
