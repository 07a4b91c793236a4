"""All connections of the server: how many are held, which gives way, and how one is refused that has no request."""

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import uvicorn

from app.api.headers import security_headers
from app.api.problems import MEDIA_TYPE, problem_body, status_of
from app.errors import CxrError, TooManyConnections, Unavailable
from app.metrics import Metrics
from app.settings import Settings

logger = logging.getLogger("app.requests")

_MAX_UNREAD_BYTES: Final = 64 * 2**20
"""Of all answers that wait in memory for callers to read them; a heatmap's PNG has up to some 2 MB."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one connection.

    Attributes:
        header_bytes: Of a request beside its body.
        header_seconds: For a header.
        body_seconds: In which a body, or the reading of an answer, must get on by ``bytes_each_time``.
        bytes_each_time: See there.
        answer_seconds: For the reading of an answer in all.
    """

    header_bytes: int
    header_seconds: float
    body_seconds: float
    bytes_each_time: int
    answer_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Read them from the settings."""
        return cls(
            header_bytes=settings.max_header_bytes,
            header_seconds=settings.header_timeout_ms / 1000,
            body_seconds=settings.body_timeout_ms / 1000,
            bytes_each_time=settings.body_timeout_bytes,
            answer_seconds=settings.request_timeout_ms / 1000,
        )


class Held(Protocol):
    """What a connection is here."""

    transport: Any

    def give_up(self) -> None:
        """End it at once, to make room."""


class Connections:
    """The connections of one server.

    At the limit a new one takes the place of the one that has been idle for longest: that waits for a header, or only
    for its caller to have read an answer. So callers who open connections and ask nothing keep nobody out.

    Attributes:
        is_draining: Connections are closed after their next answer.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        """Hold so many at most, and a few more for the moment in which they are told so."""
        self._most, self._metrics = most, metrics
        self._open: set[Held] = set()
        self._idle: dict[Held, None] = {}  # The longest idle one first.
        self._unread: dict[Held, None] = {}
        self.is_draining = False
        metrics.connections.set_function(lambda: len(self._open))

    def enter(self, connection: Held) -> CxrError | None:
        """Count a new connection in, idle; return why it must be refused, if it must."""
        error = None
        if len(self._open) >= self._most:
            oldest = next(iter(self._idle), None)
            if oldest:
                self.count("gave_way")
                self.leave(oldest)
                oldest.give_up()
            else:
                error = TooManyConnections(f"{len(self._open)} connections are busy, the most that is held. Try again.")
        self._open.add(connection)
        self._idle[connection] = None
        return error

    def leave(self, connection: Held) -> None:
        """Count a connection out."""
        self._open.discard(connection)
        self._idle.pop(connection, None)
        self._unread.pop(connection, None)

    def is_idle(self, connection: Held) -> bool:
        """Return whether it could give way."""
        return connection in self._idle

    def note_idle(self, connection: Held) -> None:
        """Let it give way from now on, after those that are idle already."""
        if connection in self._open:
            self._idle[connection] = None

    def note_busy(self, connection: Held) -> None:
        """Note that it has a request: it does not give way."""
        self._idle.pop(connection, None)

    def note_unread(self, connection: Held) -> None:
        """Note that its answer waits to be read; where these are too much in all, the oldest is given up."""
        self._unread[connection] = None
        if sum(held.transport.get_write_buffer_size() for held in self._unread) > _MAX_UNREAD_BYTES:
            oldest = next(iter(self._unread))
            self.leave(oldest)
            self.count("answer_not_read")
            oldest.give_up()

    def note_read(self, connection: Held) -> None:
        """Note that its answer was read, or nearly."""
        self._unread.pop(connection, None)

    def count(self, code: str) -> None:
        """Count a connection that was ended, under the reason."""
        self._metrics.refused_connections.labels(code).inc()

    def refuse(self, error: CxrError, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Count and log a refusal, and return the whole answer for it, after which the connection is closed.

        Args:
            error: What is refused, and why.
            headers: For every answer.
        """
        request_id, status = uuid.uuid4().hex, status_of(type(error))
        self.count(error.code)
        fields = {"request_id": request_id, "status": int(status), "code": error.code}
        logger.info("connection refused", extra={"fields": fields})
        body = problem_body(status, error.code, str(error), request_id)
        lines = [
            f"HTTP/1.1 {int(status)} {status.phrase}".encode(),
            *(b"%s: %s" % header for header in headers),
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}".encode(),
            f"x-request-id: {request_id}\r\nconnection: close".encode(),
            *(b"%s: %s" % header for header in security_headers({"path": ""}, ())),
        ]
        if isinstance(error, Unavailable):
            lines.append(f"retry-after: {error.retry_after_s}".encode())
        return b"\r\n".join([*lines, b"", body])


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with what its connections share."""

    def __init__(self, app: Any, settings: Settings, connections: Connections, **options: Any) -> None:
        """Pass the options to uvicorn."""
        super().__init__(app, **options)
        self.limits, self.connections = Limits.of(settings), connections
