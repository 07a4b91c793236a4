"""What became of a file, as the ledger holds it and the exports show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What became of a file."""

    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Key:
    """What an answer is recorded under.

    Attributes:
        path: Absolute.
        sha256: Of the content, hexadecimal.
        model_digest: Of the model that answered; of a refusal, the model that was last known to be served.
        options: Of the request, as text.
    """

    path: str
    sha256: str
    model_digest: str
    options: str


@dataclass(frozen=True)
class Record:
    """What became of one file.

    Attributes:
        given: Its path as the caller spelled it.
        path: Absolute.
        outcome: Whether it has an answer.
        body: The prediction as the service sent it, or ``code``, ``detail`` and more of an error.
        sha256: Of the content; empty if it was not read.
        heatmap: Path of the saved overlay, if any.
        recorded_at: ISO 8601, UTC; set by the ledger.
        is_new: Recorded by this run, and not found from an earlier one.
    """

    given: str
    path: str
    outcome: Outcome
    body: Mapping[str, Any]
    sha256: str = ""
    heatmap: str | None = None
    recorded_at: str = field(default_factory=lambda: now())
    is_new: bool = True


@dataclass(frozen=True)
class Counts:
    """Files of one run.

    Attributes:
        answered: With an answer.
        answered_before: Of these, those whose answer an earlier run had recorded.
        refused: With a refusal.
        refused_before: Of these, those that an earlier run had recorded.
        failed: Without either.
    """

    answered: int = 0
    answered_before: int = 0
    refused: int = 0
    refused_before: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.answered + self.refused + self.failed


def now() -> str:
    """Return the time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
