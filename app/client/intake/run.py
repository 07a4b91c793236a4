"""A whole run: the service, the files, the ledger, the results."""

import os
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from app.client import Busy, ConnectionFailed, CxrClient, CxrError, Model, Unauthorized
from app.client.intake.errors import (
    OK,
    SOME_FAILED,
    IntakeStopped,
    KeyRefused,
    LedgerFailed,
    NotTheService,
    NotUsable,
    ServiceGone,
)
from app.client.intake.export import export
from app.client.intake.feed import Feed, feed
from app.client.intake.files import Own, Selected
from app.client.intake.handle import Handler, Plan
from app.client.intake.ledger import Ledger
from app.client.intake.report import Report
from app.client.intake.retry import Tries
from app.client.intake.watch import Watch


@dataclass(frozen=True)
class Run:
    """What a run has to do.

    Attributes:
        url: Where the service is, for people: without a password.
        plan: How files are handled.
        concurrency: Files in flight.
        exports: Where the results go.
        as_json_lines: Results go to standard output, too.
        watch: A folder to watch, if any.
        settle_seconds: How long a file of it must not change.
    """

    url: str
    plan: Plan
    concurrency: int
    exports: tuple[Path, ...] = ()
    as_json_lines: bool = False
    watch: Path | None = None
    settle_seconds: float = 10


def intake(
    run: Run, client: CxrClient, ledger: Ledger, selection: Generator[Selected], own: Own, total: int | None
) -> int:
    """Send a selection, or what comes into the watched folder, and record and report each answer.

    Args:
        run: What to do.
        client: Of the service.
        ledger: Where answers are recorded.
        selection: What to send, closed at the end; not looked at where a folder is watched.
        own: What is never to be sent.
        total: Files in the selection, for the progress bar; None if not known.

    Returns:
        The exit code.

    Raises:
        IntakeStopped: It could not go on; what was recorded stays, and is exported.
    """
    stop = threading.Event()
    model = _ask_for_model(run.url, client, Tries(run.plan.limits, stop))
    ledger.begin_run(run.url)
    handler = Handler(client, ledger, run.plan, model, stop)
    exporter = _Exporter(ledger, run.exports)
    watch = None
    if run.watch is not None:
        watch = Watch(os.fspath(run.watch), own, run.settle_seconds, stop, idle=exporter.write_if_changed)
        selection = watch.files()
    with Report(total=total, as_json_lines=run.as_json_lines) as report, closing(selection):
        result = feed(
            _announcing(selection, handler, report),
            handler.handle,
            concurrency=run.concurrency,
            report=report,
            stop=stop,
            postpone=watch.postpone if watch else None,
        )
    return _conclude(result, ledger, report, exporter, watch)


def _ask_for_model(place: str, client: CxrClient, tries: Tries) -> Model:
    """Ask what the service serves; one that does not answer is not waited for, one that starts is."""
    try:
        return tries.run(lambda: _model_or_gone(client))
    except Unauthorized as error:
        raise KeyRefused(f"The service at {place} does not accept the API key: {error}") from error
    except Busy as error:
        raise ServiceGone(f"The service at {place} cannot answer: {error}") from error
    except CxrError as error:
        raise NotTheService(f"What answers at {place} is not the service: {error}") from error


def _model_or_gone(client: CxrClient) -> Model:
    try:
        return client.model()
    except ConnectionFailed as error:
        raise ServiceGone(str(error)) from error


def _announcing(selection: Iterable[Selected], handler: Handler, report: Report) -> Iterator[Selected]:
    """Say when another model answers than before."""
    model = handler.model
    for selected in selection:
        yield selected
        if handler.model.digest != model.digest:
            model = handler.model
            report.say(
                f"The service now serves {model.name}/{model.version}. Files that were answered before keep "
                "their answers; the same command, started again, asks for those of this model."
            )


def _conclude(result: Feed, ledger: Ledger, report: Report, exporter: "_Exporter", watch: Watch | None) -> int:
    if isinstance(result.error, LedgerFailed):
        raise result.error
    exporter.write()
    counts = ledger.counts()
    left = result.left + (watch.unsettled if watch else 0)
    if result.error and not isinstance(result.error, IntakeStopped):
        raise result.error
    if result.selected or watch:
        report.summary(counts)
    if result.error:
        raise result.error
    if result.interrupted:
        report.say(f"Stopped by a signal: {_left(result, left)}. Start the same command again to go on.")
    elif not result.selected:
        raise NotUsable("No file is selected: there is none, or all are hidden or written by the intake itself.")
    is_incomplete = left or not (result.is_exhausted or watch)
    return SOME_FAILED if counts.refused or counts.failed or is_incomplete else OK


def _left(result: Feed, left: int) -> str:
    begun = f"{left} files that were found" if left else ""
    further = "" if result.is_exhausted else "what was not looked for yet"
    return f"{' and '.join(filter(None, [begun, further])) or 'nothing'} is left"


class _Exporter:
    """Writes the exports of a run."""

    def __init__(self, ledger: Ledger, paths: tuple[Path, ...]) -> None:
        self._ledger, self._paths = ledger, paths
        self._changes = -1

    def write(self) -> None:
        for path in self._paths:
            export(self._ledger, path, of_all_runs=False)

    def write_if_changed(self) -> None:
        if self._paths and self._ledger.changes != self._changes:
            self._changes = self._ledger.changes
            self.write()
