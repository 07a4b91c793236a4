"""Logs as one JSON object a line on standard error.

A line holds what its caller names in ``extra={"fields": ...}`` and nothing of an upload: no file name,
form field, DICOM value or pixel. Of an exception it holds the types and places, not the message, which
may quote what it choked on.
"""

import json
import logging
import sys
import traceback
import warnings
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger and message, then the record's own fields."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = describe_exception(record.exc_info[1])
        return json.dumps(line, default=str)


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
    """Send log records to standard error as JSON, uvicorn's included.

    Libraries that read uploads are heard from warnings on: below, Pillow quotes the tags of an image.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    libraries_level = max(logging.WARNING, logging.getLevelNamesMapping()[level])
    logging.basicConfig(level=libraries_level, handlers=[handler], force=True)
    for name in ("app", "uvicorn"):
        logging.getLogger(name).setLevel(level)
    # Decoders warn about odd files in words that may quote them.
    warnings.simplefilter("ignore")
