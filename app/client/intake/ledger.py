"""The ledger: what was answered, in one SQLite file that only its owner can read, since paths can name patients.

Each path, content, model and choice of options has at most one row, which a constraint of the database holds. A row is
on the disk before anything reports it. One intake at a time works on a ledger: SQLite's own exclusive lock says so,
which ends with the process however that ends. The journal is a rollback journal, since a write-ahead log needs memory
that processes share, which a network folder has not; a ledger belongs on a local disk all the same.
"""

import heapq
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from app.client.intake.errors import LedgerFailed, LedgerInUse
from app.client.intake.private import make_private_file
from app.client.intake.records import Counts, Key, Outcome, Record, now
from app.client.intake.schema import has_tables

_PENDING_MARKS: Final = 256
"""Files that were found answered are marked so many at a time: a mark that is lost is only made again."""

_SELECT: Final = "SELECT given, path, outcome, body, sha256, heatmap, recorded_at, recorded_run FROM answers"

_RECORD: Final = """
INSERT INTO answers
    (path, sha256, model_digest, options, given, outcome, body, heatmap, recorded_at, recorded_run, seen_run)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path, sha256, model_digest, options) DO UPDATE SET
    given = excluded.given,
    seen_run = excluded.seen_run,
    body = iif(outcome = 'answered', body, excluded.body),
    heatmap = iif(outcome = 'answered', heatmap, excluded.heatmap),
    recorded_at = iif(outcome = 'answered', recorded_at, excluded.recorded_at),
    recorded_run = iif(outcome = 'answered', recorded_run, excluded.recorded_run),
    outcome = iif(outcome = 'answered', outcome, excluded.outcome)
"""


class Ledger:
    """An opened ledger, whose methods threads may call; entered as a context manager, it is closed at the end.

    Attributes:
        path: Of its file.
    """

    def __init__(self, path: Path, *, look_only: bool = False) -> None:
        """Open it, or make it, and lock it.

        Args:
            path: Of its file.
            look_only: Leave the disk as it is: nothing is locked, and what is recorded goes nowhere.

        Raises:
            LedgerInUse: Another process has it.
            LedgerFailed: It cannot be used.
        """
        self.path = path
        self._lock = threading.Lock()
        self._marks: list[tuple[int, bytes, bytes, str, str, str]] = []
        self._run = 0
        self._is_ours = not look_only
        place: str | Path = path
        if look_only:
            place = f"{path.absolute().as_uri()}?mode=rw" if path.exists() and path.stat().st_size else ":memory:"
        else:
            self._make_file(path)
        with self._failures():
            self._db = sqlite3.connect(place, timeout=0, isolation_level=None, check_same_thread=False, uri=look_only)
        try:
            with self._failures():
                self._prepare()
            if self._is_ours:
                self._name_owner()
        except BaseException:
            self._db.close()
            raise

    def begin_run(self, url: str) -> None:
        """Note that a run begins, to which what follows belongs."""
        with self._lock, self._failures():
            row = self._db.execute("INSERT INTO runs (started_at, url) VALUES (?, ?)", (now(), url))
            self._run = row.lastrowid or 0

    def find(self, key: Key) -> Record | None:
        """Look for what was recorded under a key."""
        with self._lock, self._failures():
            rows = self._db.execute(
                f"{_SELECT} WHERE path = ? AND sha256 = ? AND model_digest = ? AND options = ?",
                (os.fsencode(key.path), key.sha256, key.model_digest, key.options),
            )
            row = rows.fetchone()
        return self._answer(row) if row else None

    def mark(self, key: Key, given: str) -> None:
        """Note that this run came by a file that has its record."""
        where = (os.fsencode(key.path), key.sha256, key.model_digest, key.options)
        with self._lock, self._failures():
            self._marks.append((self._run, os.fsencode(given), *where))
            if len(self._marks) >= _PENDING_MARKS:
                self._flush()

    def record(self, key: Key, record: Record) -> Record:
        """Record an answer or a refusal; it is on the disk when this returns.

        An answer that is there already stays, and a refusal gives way to what came later.

        Returns:
            What is recorded.
        """
        values = (
            *(os.fsencode(key.path), key.sha256, key.model_digest, key.options, os.fsencode(record.given)),
            *(record.outcome, json.dumps(dict(record.body)), record.heatmap and os.fsencode(record.heatmap)),
            *(record.recorded_at, self._run, self._run),
        )
        with self._lock, self._failures(), self._transaction():
            self._db.execute(_RECORD, values)
            self._db.execute("DELETE FROM failures WHERE path = ?", (os.fsencode(key.path),))
        return self.find(key) or record

    def fail(self, record: Record) -> None:
        """Record that a file has no answer, for a reason that may pass."""
        values = (os.fsencode(record.path), os.fsencode(record.given), json.dumps(dict(record.body)))
        with self._lock, self._failures():
            self._db.execute(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)", (*values, record.recorded_at, self._run)
            )

    def last_model(self) -> str:
        """Return the digest of the model whose answer was recorded last; empty if there is none."""
        with self._lock, self._failures():
            row = self._db.execute("SELECT model_digest FROM answers ORDER BY id DESC LIMIT 1").fetchone()
        return row[0] if row else ""

    def counts(self) -> Counts:
        """Count this run's files, as they are recorded."""
        with self._lock, self._failures():
            self._flush()
            rows = self._db.execute(
                "SELECT outcome, recorded_run < ?, COUNT(DISTINCT path) FROM answers WHERE seen_run = ? GROUP BY 1, 2",
                (self._run, self._run),
            ).fetchall()
            [failed] = self._db.execute("SELECT COUNT(*) FROM failures WHERE run = ?", (self._run,)).fetchone()
        by_kind = {(outcome, bool(before)): count for outcome, before, count in rows}
        answered, refused = (
            (by_kind.get((outcome, False), 0), by_kind.get((outcome, True), 0))
            for outcome in (Outcome.ANSWERED, Outcome.REFUSED)
        )
        return Counts(sum(answered), answered[1], sum(refused), refused[1], failed)

    def records(self, *, of_all_runs: bool) -> Iterator[Record]:
        """Go through what is recorded, in the order of paths, one in memory at a time.

        Args:
            of_all_runs: All there is, or what this run came by.
        """
        with self._lock, self._failures():
            self._flush()
            answers = self._db.execute(f"{_SELECT} WHERE ? OR seen_run = ? ORDER BY path", (of_all_runs, self._run))
            failures = self._db.execute(
                "SELECT given, path, body, recorded_at FROM failures WHERE ? OR run = ? ORDER BY path",
                (of_all_runs, self._run),
            )
        with closing(answers), closing(failures), self._failures():
            both = heapq.merge(map(self._answer, answers), map(_failure, failures), key=lambda r: os.fsencode(r.path))
            yield from both

    def labels(self, *, of_all_runs: bool) -> list[str]:
        """List the labels of all recorded probabilities, sorted."""
        with self._lock, self._failures():
            self._flush()
            rows = self._db.execute(
                "SELECT DISTINCT label.key FROM answers, json_each(body, '$.probabilities') AS label"
                " WHERE outcome = 'answered' AND (? OR seen_run = ?) ORDER BY 1",
                (of_all_runs, self._run),
            )
            return [label for (label,) in rows]

    @property
    def changes(self) -> int:
        """Grows with every change."""
        return self._db.total_changes

    def close(self) -> None:
        """Write what is pending, and let others have it."""
        try:
            with self._lock, self._failures():
                self._flush()
        finally:
            if self._is_ours:
                owner_file(self.path).unlink(missing_ok=True)
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        if self._is_ours:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
            self._db.execute("PRAGMA synchronous = FULL")
            # The lock that this takes stays until the end, as the mode says.
            with self._transaction("EXCLUSIVE"):
                self._require_tables()
        else:
            self._require_tables()

    def _require_tables(self) -> None:
        if not has_tables(self._db):
            raise LedgerFailed(
                f"{self.path} is not a ledger of this version of cxr-intake. Name another file with --ledger."
            )

    def _make_file(self, path: Path) -> None:
        try:
            make_private_file(path)
        except OSError as error:
            raise LedgerFailed(
                f"The ledger {path} cannot be made or opened: {error.strerror}. Name another file with --ledger."
            ) from error

    def _name_owner(self) -> None:
        try:
            owner = owner_file(self.path)
            make_private_file(owner)
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        except OSError as error:
            raise LedgerFailed(f"Cannot write beside the ledger {self.path}: {error.strerror}.") from error

    def _flush(self) -> None:
        if self._marks:
            with self._transaction():
                self._db.executemany(
                    "UPDATE answers SET seen_run = ?, given = ?"
                    " WHERE path = ? AND sha256 = ? AND model_digest = ? AND options = ?",
                    self._marks,
                )
                self._db.executemany("DELETE FROM failures WHERE path = ?", [(mark[2],) for mark in self._marks])
            self._marks.clear()

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # A full disk has undone it already.
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise LedgerInUse(
                    f"The ledger {self.path} is in use by another intake, {_owner(self.path)}. "
                    "Wait for its end, or name another ledger with --ledger."
                ) from error
            if name.startswith("SQLITE_FULL"):
                raise LedgerFailed(
                    f"The disk of the ledger {self.path} is full. What was recorded stays; "
                    "make room and start the same command again."
                ) from error
            raise LedgerFailed(
                f"The ledger {self.path} cannot be used: {error}. What was recorded stays; "
                "when the cause is removed, start the same command again."
            ) from error

    def _answer(self, row: tuple[Any, ...]) -> Record:
        given, path, outcome, body, sha256, heatmap, recorded_at, recorded_run = row
        return Record(
            given=os.fsdecode(given),
            path=os.fsdecode(path),
            outcome=Outcome(outcome),
            body=json.loads(body),
            sha256=sha256,
            heatmap=os.fsdecode(heatmap) if heatmap else None,
            recorded_at=recorded_at,
            is_new=recorded_run == self._run,
        )


def files_of(path: Path) -> tuple[Path, ...]:
    """List the files that a ledger consists of, whether they exist or not."""
    return (path, path.with_name(path.name + "-journal"), owner_file(path))


def owner_file(path: Path) -> Path:
    """Name the file beside a ledger that says who works on it."""
    return path.with_name(path.name + ".owner")


def _owner(path: Path) -> str:
    try:
        return owner_file(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "which does not say who it is"


def _failure(row: tuple[Any, ...]) -> Record:
    given, path, body, recorded_at = row
    return Record(os.fsdecode(given), os.fsdecode(path), Outcome.FAILED, json.loads(body), recorded_at=recorded_at)
