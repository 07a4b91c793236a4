"""What a person sees: progress and troubles on standard error, results on standard output."""

import sys
import threading
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from app.client.intake.errors import OutputFailed
from app.client.intake.export import as_json
from app.client.intake.files import Selected
from app.client.intake.records import Counts, Outcome, Record

_TEXT: Final = "{task.description}"


class Report:
    """Tells how a run goes; threads may share one. Entered as a context manager, it shows the progress bar.

    There is a bar only where standard error is a terminal.
    """

    def __init__(self, *, total: int | None, as_json_lines: bool) -> None:
        """Set up.

        Args:
            total: Files that will come; None if that is not known, and no time is estimated then.
            as_json_lines: Write each result to standard output as it comes.
        """
        self._as_json_lines = as_json_lines
        self._lock = threading.Lock()
        console = Console(stderr=True)
        self._progress = Progress(
            *(TextColumn(_TEXT), BarColumn(), MofNCompleteColumn(), _RateColumn(), TimeRemainingColumn()),
            console=console,
            disable=not sys.stderr.isatty(),
            redirect_stdout=False,  # it would lead to standard error
        )
        self._task = self._progress.add_task("Intake", total=total)

    def finished(self, record: Record) -> None:
        """Tell about a file that has its record.

        Raises:
            OutputFailed: Standard output cannot be written.
        """
        self._progress.advance(self._task)
        if record.outcome is not Outcome.ANSWERED:
            body = record.body
            self.say(f"{record.outcome}: {shown(record.given)}: {body.get('code')}: {body.get('detail')}")
        if self._as_json_lines:
            self._write(as_json(record))

    def skipped(self, selected: Selected) -> None:
        """Tell about something that will not be sent, if one would expect that it is."""
        if selected.skip and selected.skip.is_loud:
            self.say(f"skipped: {shown(selected.given)}: {selected.skip.value}")

    def say(self, message: str) -> None:
        """Tell something on standard error."""
        self._progress.console.print(message, markup=False, highlight=False, soft_wrap=True, emoji=False)

    def summary(self, counts: Counts) -> None:
        """Write how many files have which outcome, to standard output unless JSON lines are there.

        Raises:
            OutputFailed: Standard output cannot be written.
        """
        text = (
            f"{counts.total} files: {counts.answered} answered ({counts.answered_before} before), "
            f"{counts.refused} refused ({counts.refused_before} before), {counts.failed} failed"
        )
        if self._as_json_lines:
            self.say(text)
        else:
            self._write(text + "\n")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _write(self, text: str) -> None:
        try:
            with self._lock:
                sys.stdout.write(text)
                sys.stdout.flush()
        except OSError as error:
            raise OutputFailed(f"Cannot write to standard output: {error.strerror}. The ledger has all.") from error


def shown(path: str) -> str:
    """Write a path so that a terminal shows it: bytes that are not text, and control characters, as escapes."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in path)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")
