"""One file's whole way: read, look up, send, save, record."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.client import (
    ApiError,
    Busy,
    ConnectionFailed,
    CxrClient,
    CxrError,
    Model,
    ModelIdentity,
    Prediction,
    Refused,
    Unauthorized,
)
from app.client.intake.errors import KeyRefused, OutputFailed, ServiceGone
from app.client.intake.files import Selected
from app.client.intake.ledger import Ledger
from app.client.intake.private import name_for, write_private_file
from app.client.intake.quarantine import Quarantine
from app.client.intake.read import Content, Unreadable, read
from app.client.intake.records import Key, Outcome, Record
from app.client.intake.retry import Limits, Tries


@dataclass(frozen=True)
class Plan:
    """How files are handled.

    Attributes:
        limits: Of retries, a file.
        heatmaps: Folder for overlays, if any are asked for.
        quarantine: Where refused files go, if anywhere.
        retry_failed: Send again what an earlier run recorded as refused.
        max_file_bytes: A larger file is not sent.
    """

    limits: Limits = field(default_factory=Limits)
    heatmaps: Path | None = None
    quarantine: Quarantine | None = None
    retry_failed: bool = False
    max_file_bytes: int = 64 * 2**20

    @property
    def options(self) -> str:
        """What of this decides an answer, as the ledger keeps it."""
        return "predict+heatmap" if self.heatmaps else "predict"


class Handler:
    """Handles files; threads may share one.

    Attributes:
        model: What the service serves, by its last answer.
        models_changed: How often another model answered than before.
    """

    def __init__(
        self, client: CxrClient, ledger: Ledger, plan: Plan, model: Model | ModelIdentity, stop: threading.Event
    ) -> None:
        """Take what a run has; requests are not repeated once ``stop`` is set."""
        self._client, self._ledger, self._plan, self._stop = client, ledger, plan, stop
        self.model = ModelIdentity(model.name, model.version, model.digest)
        self.models_changed = 0
        self._last_served = time.monotonic()

    def handle(self, selected: Selected) -> Record:
        """See to it that a file has its record.

        Returns:
            What is recorded: by this run, or found from an earlier one.

        Raises:
            GivenUp: The intake stops, and this file was not sent or got no answer; nothing is recorded.
            IntakeStopped: The intake cannot go on.
        """
        if selected.problem:
            return self._fail(selected, {"code": "not_found", "detail": selected.problem})
        try:
            content = read(selected.path, self._plan.max_file_bytes)
        except Unreadable as error:
            return self._fail(selected, {"code": error.code, "detail": str(error)})
        key = Key(selected.path, content.sha256, self.model.digest, self._plan.options)
        known = self._ledger.find(key)
        if known and not (known.outcome is Outcome.REFUSED and self._plan.retry_failed):
            self._ledger.mark(key, selected.given)
            self._keep(known, content)
            self._take_away(known, content)
            return known
        return self._send(selected, content)

    def _send(self, selected: Selected, content: Content) -> Record:
        tries = Tries(self._plan.limits, self._stop)
        try:
            prediction = tries.run(lambda: self._client.predict(content.data))
            heatmap = tries.run(lambda: self._client.explain(content.data)) if self._plan.heatmaps else None
        except Refused as error:
            return self._refuse(selected, content, error)
        except Unauthorized as error:
            raise KeyRefused(f"The service does not accept the API key: {error}") from error
        except CxrError as error:
            if isinstance(error, Busy | ConnectionFailed):
                self._require_service(tries, error)
            return self._fail(selected, {**_described(error), "retries": tries.retries}, content)
        self._last_served = time.monotonic()
        self._notice_model(prediction.model)
        return self._record(selected, content, prediction, heatmap)

    def _record(self, selected: Selected, content: Content, prediction: Prediction, heatmap: bytes | None) -> Record:
        digest = prediction.model.digest
        saved = heatmap and self._save(selected.path, content, digest, heatmap)
        key = Key(selected.path, content.sha256, digest, self._plan.options)
        record = Record(
            selected.given, selected.path, Outcome.ANSWERED, prediction.raw, content.sha256, heatmap=saved or None
        )
        return self._ledger.record(key, record)

    def _refuse(self, selected: Selected, content: Content, error: Refused) -> Record:
        self._last_served = time.monotonic()
        record = Record(selected.given, selected.path, Outcome.REFUSED, _described(error), content.sha256)
        self._keep(record, content)
        key = Key(selected.path, content.sha256, self.model.digest, self._plan.options)
        recorded = self._ledger.record(key, record)
        self._take_away(recorded, content)
        return recorded

    def _fail(self, selected: Selected, body: dict[str, Any], content: Content | None = None) -> Record:
        sha256 = content.sha256 if content else ""
        record = Record(selected.given, selected.path, Outcome.FAILED, body, sha256)
        self._ledger.fail(record)
        return record

    def _require_service(self, tries: Tries, error: CxrError) -> None:
        """End the intake if all the time that a file was tried, no file had an answer, and the service is not there.

        A single image at which a service stumbles is no reason to stop; it is asked, therefore.
        """
        if self._last_served > tries.began:
            return
        try:
            if self._client.ready():
                return
        except CxrError as now:
            error = now
        seconds = time.monotonic() - tries.began
        raise ServiceGone(f"The service has answered no image for {seconds:.0f} s: {error}") from error

    def _notice_model(self, model: ModelIdentity) -> None:
        if model.digest != self.model.digest:
            self.model = model
            self.models_changed += 1

    def _save(self, path: str, content: Content, digest: str, heatmap: bytes) -> str:
        assert self._plan.heatmaps
        place = self._plan.heatmaps / (name_for(path, content.sha256, digest) + ".png")
        try:
            write_private_file(place, [heatmap])
        except OSError as error:
            raise OutputFailed(f"Cannot write the heatmap {place}: {error.strerror}.") from error
        return str(place.absolute())

    def _keep(self, record: Record, content: Content) -> None:
        if self._plan.quarantine and record.outcome is Outcome.REFUSED:
            self._plan.quarantine.keep(record, content)

    def _take_away(self, record: Record, content: Content) -> None:
        if self._plan.quarantine and record.outcome is Outcome.REFUSED:
            self._plan.quarantine.take_away(record, content)


def _described(error: CxrError) -> dict[str, Any]:
    if isinstance(error, ApiError):
        return {
            "code": error.code,
            "status": error.status,
            "detail": error.detail,
            "request_id": error.request_id,
        }
    code = "connection_failed" if isinstance(error, ConnectionFailed) else "unexpected_answer"
    return {"code": code, "detail": str(error)}
