"""The command ``cxr-intake``.

Results go to files and standard output, progress and troubles to standard error.
"""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from rich.console import Console

from app.client import CxrClient
from app.client.intake.dry_run import dry_run
from app.client.intake.errors import OK, IntakeStopped, NotUsable
from app.client.intake.export import SUFFIXES, export
from app.client.intake.files import Own, Selected, expand, listed, select
from app.client.intake.handle import Plan
from app.client.intake.ledger import Ledger, files_of
from app.client.intake.quarantine import Quarantine
from app.client.intake.retry import Limits
from app.client.intake.run import Run, intake

_STDIN: Final = "-"
_KEY_VARIABLE: Final = "CXR_API_KEY"
_LEDGER: Final = Path(typer.get_app_dir("cxr-intake", roaming=False)) / "ledger.sqlite"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def main() -> None:
    """Run the command; the exit code is the process's."""
    app()


@app.command()
def cxr_intake(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Files, folders, quoted patterns such as 'exports/**/*.dcm', and - for paths on standard input, one a "
            "line. Without any, --export writes all that the ledger holds.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[str, typer.Option(envvar="CXR_URL", help="Where the service is.")] = "http://127.0.0.1:8000",
    api_key_file: Annotated[
        Path | None, typer.Option(help=f"File with the API key; otherwise it is taken from {_KEY_VARIABLE}.")
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Watch a folder, in place of PATH, and take files when they have settled.")
    ] = None,
    settle_seconds: Annotated[
        float, typer.Option(min=0.01, help="How long size and time of a watched file must not change.")
    ] = 10,
    concurrency: Annotated[int, typer.Option(min=1, max=128, help="Images in flight at a time.")] = 16,
    retries: Annotated[
        int, typer.Option(min=0, help="Of a file, after 429, 502, 503, 504 and failed connections.")
    ] = 10,
    retry_seconds: Annotated[
        float,
        typer.Option(min=0, help="Time for all retries of a file. If no file is answered that long: exit code 3."),
    ] = 120,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for one answer.")] = 65,
    ledger: Annotated[Path, typer.Option(help="Where answers are recorded; one intake at a time.")] = _LEDGER,
    export_to: Annotated[
        list[Path] | None,
        typer.Option("--export", help="Write the results of these files: .jsonl or .csv; repeatable."),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Write each result to standard output as a line of JSON, as it comes.")
    ] = False,
    heatmaps: Annotated[Path | None, typer.Option(help="Folder to save each image with its heatmap over it.")] = None,
    quarantine: Annotated[
        Path | None, typer.Option(help="Folder for copies of refused files, the reason beside each.")
    ] = None,
    quarantine_move: Annotated[
        bool, typer.Option("--quarantine-move", help="Move refused files there, in place of copying.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send again what the service refused in an earlier run.")
    ] = False,
    dry_run_only: Annotated[
        bool, typer.Option("--dry-run", help="List what would be sent, and why the rest not; sends and writes nothing.")
    ] = False,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="Paths on standard input end with a zero byte, as of find -print0.")
    ] = False,
    max_file_bytes: Annotated[int, typer.Option(min=1, help="Larger files are not sent.")] = 64 * 2**20,
) -> None:
    """Send chest X-rays to the service and record each answer once. Research use only, never a diagnosis.

    A run that was stopped or killed goes on where it was: start the same command again. A file is sent again only when
    its content, its path, the model or an option that changes answers is another.

    Exit codes: 0 all have an answer; 1 some were refused or failed, or it was stopped before the end; 2 wrong usage, no
    file, or the ledger is in use; 3 the service is unreachable or does not accept the key.

    Example: cxr-intake exports --export results.csv --quarantine refused
    """
    try:
        exports = _checked(tuple(export_to or ()), paths, watch, quarantine, quarantine_move, dry_run_only)
        own = Own(
            (*files_of(ledger), *exports, *filter(None, [api_key_file])), tuple(filter(None, [quarantine, heatmaps]))
        )
        plan = Plan(
            limits=Limits(retries, retry_seconds),
            heatmaps=heatmaps,
            quarantine=Quarantine(quarantine, move=quarantine_move) if quarantine else None,
            retry_failed=retry_failed,
            max_file_bytes=max_file_bytes,
        )
        names = tuple(paths or ())
        if dry_run_only:
            with Ledger(ledger, look_only=True) as opened, closing(_select(names, own, null=null)) as selection:
                code = dry_run(selection, opened, plan, as_json_lines=json_lines)
        elif not names and watch is None:
            code = _export_all(ledger, exports)
        else:
            with _client(url, api_key_file, timeout) as client, Ledger(ledger) as opened:
                run = Run(_without_password(url), plan, concurrency, exports, json_lines, watch, settle_seconds)
                selection = _select(names, own, null=null)
                code = intake(run, client, opened, selection, own, _total(names, own, watch))
    except IntakeStopped as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True, emoji=False)
        code = error.exit_code
    raise typer.Exit(code)


def _checked(
    exports: tuple[Path, ...],
    paths: list[str] | None,
    watch: Path | None,
    quarantine: Path | None,
    quarantine_move: bool,
    dry_run_only: bool,
) -> tuple[Path, ...]:
    """Refuse options that do not go together."""
    if not paths and watch is None and (not exports or dry_run_only):
        raise NotUsable("Name files or folders to send, or --watch a folder. See --help.")
    if watch is not None and (paths or dry_run_only):
        raise NotUsable("--watch takes neither further paths nor --dry-run.")
    if watch is not None and not watch.is_dir():
        raise NotUsable(f"{watch} is not a folder that could be watched.")
    if quarantine_move and quarantine is None:
        raise NotUsable("--quarantine-move needs --quarantine FOLDER.")
    for path in exports:
        if path.suffix.lower() not in SUFFIXES:
            raise NotUsable(f"--export {path}: its name must end in {' or '.join(SUFFIXES)}, which decides the form.")
    return exports


def _select(names: tuple[str, ...], own: Own, *, null: bool) -> Generator[Selected]:
    def of(name: str) -> Iterator[str]:
        return listed(sys.stdin.buffer, nul=null) if name == _STDIN else expand([name])

    return select((path for name in names for path in of(name)), own)


def _total(names: tuple[str, ...], own: Own, watch: Path | None) -> int | None:
    """Count the files where a progress bar is shown and it can be done without using them up."""
    if watch is not None or _STDIN in names or not sys.stderr.isatty():
        return None
    return sum(not found.skip for found in _select(names, own, null=False))


def _client(url: str, api_key_file: Path | None, timeout: float) -> CxrClient:
    try:
        return CxrClient(url, api_key=_api_key(api_key_file), timeout=timeout)
    except ValueError as error:
        raise NotUsable(str(error)) from error


def _without_password(url: str) -> str:
    return str(httpx.URL(url).copy_with(userinfo=b""))


def _api_key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(_KEY_VARIABLE) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotUsable(f"The API key cannot be read from {file}: {error}.") from error


def _export_all(ledger: Path, exports: tuple[Path, ...]) -> int:
    if not ledger.exists():
        raise NotUsable(f"There is no ledger {ledger} yet. Name another one with --ledger.")
    with Ledger(ledger, look_only=True) as opened:
        for path in exports:
            export(opened, path, of_all_runs=True)
    return OK
