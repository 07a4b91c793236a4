"""A folder of the files that the service refused, each with the reason beside it."""

import json
from pathlib import Path

from app.client.intake.errors import OutputFailed
from app.client.intake.private import name_for, write_private_file
from app.client.intake.read import Content
from app.client.intake.records import Record


class Quarantine:
    """Copies refused files; moves them only when it is told to."""

    def __init__(self, folder: Path, *, move: bool = False) -> None:
        """Name the folder, which is made with its first file."""
        self._folder, self._move = folder, move

    def keep(self, record: Record, content: Content) -> None:
        """Keep a refused file, unless it is kept already.

        Its name gets digits that stand for its path and content, so that none overwrites another and to do it again
        changes nothing: this may come after a run that was killed in the midst of it. The reason has the same name
        with ``.json``.

        Raises:
            OutputFailed: It cannot be written.
        """
        name = name_for(record.path, content.sha256)
        copy = self._folder / (name + Path(record.path).suffix)
        reason = self._folder / (name + ".reason.json")
        about = {"path": record.path, "sha256": content.sha256, "recorded_at": record.recorded_at, **record.body}
        try:
            if not copy.exists():
                write_private_file(copy, [content.data])
            write_private_file(reason, [json.dumps(about, indent=2).encode()])
        except OSError as error:
            raise OutputFailed(f"Cannot write to the quarantine {self._folder}: {error.strerror}.") from error

    def take_away(self, record: Record, content: Content) -> None:
        """Remove the original of a file that is kept and recorded, if moving was asked for and it did not change.

        Raises:
            OutputFailed: It cannot be removed.
        """
        if not self._move or not content.is_still_at(record.path):
            return
        try:
            Path(record.path).unlink(missing_ok=True)
        except OSError as error:
            raise OutputFailed(
                f"{record.path} is in the quarantine and cannot be removed from its place: {error.strerror}."
            ) from error
