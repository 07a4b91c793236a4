"""Logs as one JSON object a line on standard error.

A line holds what its caller names in ``extra={"fields": ...}`` and nothing of an upload: no file name,
form field, DICOM value or pixel. Of an exception it holds the types and places, not the message, which
may quote what it choked on; of a library's message the form, not the values, for the same reason.

Lines are written by a thread of their own, so that nobody waits for whoever reads the log: where it is not read in
time, or its disk is full, lines are lost and not requests. How many were lost is told once there is room again.
"""

import json
import logging
import os
import queue
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

_OWN: Final = ("app", "uvicorn")
"""First parts of the names of the loggers whose messages hold nothing of an upload."""

_WAITING_LINES: Final = 10_000
"""Most that wait to be written: some 4 MB, or a minute without a reader at 150 requests a second."""

_CLOSE_SECONDS: Final = 2
"""How long the end of the process waits for a reader."""

logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger and message, then the record's own fields."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = describe_exception(record.exc_info[1])
        return json.dumps(line, default=str)


class LineWriter(logging.Handler):
    """Write lines to a file descriptor, on a thread, and drop what it does not take."""

    def __init__(self, descriptor: int, waiting_lines: int = _WAITING_LINES) -> None:
        """Start the thread.

        Args:
            descriptor: Open for writing; it stays open.
            waiting_lines: Most that wait to be written.
        """
        super().__init__()
        self._descriptor, self._waiting_lines = descriptor, waiting_lines
        # One that a finalizer may log to in the midst of a call of it; so must the lock be.
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lost, self._lost_lock = 0, threading.RLock()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record's line."""
        try:
            line = self.format(record)
        except Exception:  # A library's, with values that its message has no place for.
            self._lose()
            return
        if self._lines.qsize() < self._waiting_lines:
            self._lines.put(line)
        else:
            self._lose()

    def close(self) -> None:
        """Write what waits, if somebody takes it within a short time."""
        self._lines.put(None)
        self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._lost:
                self._tell_lost()
            self._write(line)

    def _tell_lost(self) -> None:
        with self._lost_lock:
            lost, self._lost = self._lost, 0
        message = "%d lines of the log were lost before this one: they could not be written in time."
        record = logging.makeLogRecord({"name": __name__, "levelname": "WARNING", "msg": message, "args": (lost,)})
        if not self._write(self.format(record)):
            self._lose(lost - 1)

    def _lose(self, lines: int = 1) -> None:
        with self._lost_lock:
            self._lost += lines

    def _write(self, line: str) -> bool:
        """Write a line, from the thread alone; say whether that could be done.

        Not through ``sys.stderr``: a thread that hangs in it at the end of the process would abort that.
        """
        rest = memoryview(f"{line}\n".encode())
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._lose()
            return False
        return True


def describe_exception(error: BaseException) -> list[str]:
    """Describe an exception and its causes by type and place, without their messages."""
    described: list[str] = []
    current: BaseException | None = error
    while current is not None and len(described) < 8:
        frames = traceback.extract_tb(current.__traceback__)
        places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames[-5:]))
        described.append(f"{type(current).__name__} in {places}")
        current = current.__cause__ or current.__context__
    return described


def configure(level: str) -> None:
    """Send log records to standard error as JSON, uvicorn's and those of exceptions that nobody catches included.

    Libraries that read uploads are heard from warnings on: below, Pillow quotes the tags of an image.
    """
    handler = LineWriter(sys.stderr.fileno()) if sys.stderr else logging.NullHandler()
    handler.setFormatter(JsonFormatter())
    libraries_level = max(logging.WARNING, logging.getLevelNamesMapping()[level])
    logging.basicConfig(level=libraries_level, handlers=[handler], force=True)
    for name in _OWN:
        logging.getLogger(name).setLevel(level)
    # Decoders warn about odd files in words that may quote them.
    warnings.simplefilter("ignore")
    # Python would print these with their messages.
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda raised: _log_uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)
    sys.unraisablehook = lambda raised: _log_uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)


def _log_uncaught(_: type[BaseException], error: BaseException | None, __: TracebackType | None) -> None:
    logger.error("An exception that nobody caught.", exc_info=error)


def _message(record: logging.LogRecord) -> str:
    if record.name.split(".")[0] in _OWN:
        return record.getMessage()
    # What is put into it may be of an upload, and further lines of asyncio's show what failed, message and all.
    return next(iter(str(record.msg).splitlines()), "")
