"""Results as JSON lines or CSV."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from app.client.intake.errors import OutputFailed
from app.client.intake.ledger import Ledger
from app.client.intake.private import write_private_file
from app.client.intake.records import Outcome, Record

SUFFIXES: Final = (".jsonl", ".csv")

_FORMULA_BEGINS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Source: OWASP, "CSV Injection"."""


def export(ledger: Ledger, path: Path, *, of_all_runs: bool) -> None:
    """Write results to a file that its owner alone can read, whole or not at all.

    Args:
        ledger: Where they are.
        path: Ends in one of ``SUFFIXES``, which decides the form.
        of_all_runs: Everything in the ledger, or the files of this run.

    Raises:
        OutputFailed: It cannot be written.
        LedgerFailed: The ledger cannot be read.
    """
    lines = csv_lines if path.suffix.lower() == ".csv" else json_lines
    try:
        write_private_file(path, lines(ledger, of_all_runs=of_all_runs))
    except OSError as error:
        raise OutputFailed(f"Cannot write {path}: {error.strerror}. The ledger has the results.") from error


def as_json(record: Record) -> str:
    r"""Write one result as a line of JSON, in ASCII.

    Bytes of a path that are not UTF-8 are escaped as lone surrogates, ``\udc80`` to ``\udcff``: ``os.fsencode`` of
    what a JSON reader makes of them is the path again.
    """
    is_answer = record.outcome is Outcome.ANSWERED
    row = {
        "path": record.given,
        "absolute_path": record.path,
        "outcome": record.outcome,
        "prediction": record.body if is_answer else None,
        "error": None if is_answer else record.body,
        "heatmap": record.heatmap,
        "sha256": record.sha256 or None,
        "recorded_at": record.recorded_at,
        "new": record.is_new,
    }
    return json.dumps(row) + "\n"


def json_lines(ledger: Ledger, *, of_all_runs: bool) -> Iterator[bytes]:
    """Write results as JSON lines, in the order of paths."""
    for record in ledger.records(of_all_runs=of_all_runs):
        yield as_json(record).encode("ascii")


def csv_lines(ledger: Ledger, *, of_all_runs: bool) -> Iterator[bytes]:
    r"""Write results as CSV in UTF-8, in the order of paths.

    Text that a spreadsheet would take for a formula gets an apostrophe before it. Bytes of a path that are not UTF-8
    are written as ``\udc80`` to ``\udcff``.
    """
    labels = ledger.labels(of_all_runs=of_all_runs)
    writer = csv.writer(_Echo(), lineterminator="\r\n")  # Source: RFC 4180, 2.1.
    yield _encode(writer.writerow([*_BEFORE, *(f"probability_{label}" for label in labels), *_AFTER]))
    for record in ledger.records(of_all_runs=of_all_runs):
        yield _encode(writer.writerow([_defuse(cell) for cell in _row(record, labels)]))


_BEFORE: Final = ("path", "absolute_path", "outcome", "label")
_AFTER: Final = (
    *("threshold", "model", "model_version", "model_digest", "warnings", "error_code", "error"),
    *("heatmap", "sha256", "recorded_at", "request_id"),
)


class _Echo:
    """What ``csv`` writes to: ``writerow`` returns what this returns."""

    def write(self, text: str) -> str:
        return text


def _row(record: Record, labels: list[str]) -> list[Any]:
    is_answer = record.outcome is Outcome.ANSWERED
    prediction: Mapping[str, Any] = record.body if is_answer else {}
    error: Mapping[str, Any] = {} if is_answer else record.body
    model = prediction.get("model", {})
    probabilities = prediction.get("probabilities", {})
    return [
        *(record.given, record.path, record.outcome.value, prediction.get("label")),
        *(probabilities.get(label) for label in labels),
        *(prediction.get("threshold"), model.get("name"), model.get("version"), model.get("digest")),
        "; ".join(str(warning.get("code")) for warning in prediction.get("warnings", ())),
        *(error.get("code"), error.get("detail")),
        *(record.heatmap, record.sha256, record.recorded_at, record.body.get("request_id")),
    ]


def _defuse(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_BEGINS) else cell


def _encode(line: str) -> bytes:
    return line.encode(errors="backslashreplace")
