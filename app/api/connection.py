"""One connection of a caller, as uvicorn's protocol with limits that hold before a request exists.

uvicorn bounds neither a header nor the time that it takes, closes a connection under a caller that is still sending,
and keeps one whose caller does not read. Here

- what is not body (request line, header, trailer, chunk framing) is counted as it comes,
- a header must be whole by a deadline, and so must be the first one of a connection that was just opened,
- an answer that stands before its request was read goes out first; what still comes is dropped, for a bounded time,
  before the connection is closed: closed with bytes unread it would be reset, and the caller would see a broken pipe
  where the answer was,
- answers that callers do not take are given up, and connections are held in a bounded number (`app.api.connections`).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.connections import Connections, ServerConfig
from app.errors import CxrError, HeaderTooLarge, HeaderTooSlow, RequestError

_LINGER_SECONDS: Final = 30
_IDLE_SECONDS: Final = 5
"""Source of both: nginx's defaults for the same (lingering_time, lingering_timeout)."""

_LAST_SECONDS: Final = 0.5
"""Of lingering, where the server ends."""

_MAX_PIPELINED: Final = 8
"""Requests that wait on a connection while an earlier one is answered; each may be a few bytes and costs kilobytes."""

_FRAMING: Final = 4
"""In powers of two, 1/16 of a body: so many more bytes may frame its chunks. Six do for a chunk of 96."""


class Connection(HttpToolsProtocol):
    """A connection within limits."""

    def __init__(
        self,
        config: ServerConfig,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Prepare; the arguments are uvicorn's."""
        super().__init__(config, server_state, app_state, _loop)
        self._all: Connections = config.connections
        self._limits = config.limits
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._has_begun = False  # Bytes of the awaited header have come.
        self._lingers_until = 0.0  # After its last answer.
        self._heard_at = 0.0
        self._header_bytes = 0
        self._extra_bytes = 0
        self._keeps_alive = True
        self._fault: CxrError | None = None

    # ------------------------------------------------------------- the connection, as asyncio reports it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection, or refuse it."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if error := self._all.enter(self):
            self._refuse(error)
        else:
            self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._all.leave(self)
        self._stop_timer()
        self._stop_write_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection is only held until its caller has read the answer."""
        if self._lingers_until:
            self._heard_at = self.loop.time()
            return
        if self.parser is None or self._fault:
            return
        self._unset_keepalive_if_required()
        if not self._has_begun and self._all.is_idle(self):
            self._has_begun = True
            self._start_timer(self._limits.header_seconds, self._on_slow_header)
        self._extra_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No other protocol is spoken here. The request is answered as it is, and what follows it is not HTTP.
            self.cycle.keep_alive = self._keeps_alive = False
        except httptools.HttpParserError:
            self._refuse(self._fault or RequestError("What came over the connection is not HTTP/1.1."))
            return
        if self._extra_bytes > self._limits.header_bytes:
            self._refuse(self._too_large())

    def pause_writing(self) -> None:
        """Give a caller that does not read its answer a bounded time."""
        super().pause_writing()
        self._all.note_unread(self)
        if not self._write_timer:
            self._watch_unread(self.loop.time() + self._limits.answer_seconds)

    def resume_writing(self) -> None:
        """Note that the caller reads."""
        super().resume_writing()
        self._all.note_read(self)
        self._stop_write_timer()

    # ------------------------------------------------------------- a request, as the parser reports it

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Count a part of the address."""
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field of the header, or of the trailer."""
        self._count_header(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._fault = RequestError(f"More than {_MAX_PIPELINED} requests were sent ahead of their answers.")
            raise self._fault
        self._all.note_busy(self)
        self._has_begun = False
        self._stop_timer()
        super().on_headers_complete()
        cycle = self.cycle
        cycle.transport = _Answering(self, cycle)  # type: ignore[assignment]
        # A connection is kept only if its request is read whole: before, its answer says "close".
        self._keeps_alive = cycle.keep_alive and not self._all.is_draining
        cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._extra_bytes -= len(body) + (len(body) >> _FRAMING)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request was read whole."""
        self._extra_bytes = 0
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless the connection is about to be closed."""
        if self._lingers_until:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self._fault:
            self.linger()
        elif not self.pipeline and not self.transport.is_closing():
            self._all.note_idle(self)

    def shutdown(self) -> None:
        """Close at once what is idle, and the rest after its answer."""
        self._keeps_alive = False
        if self._lingers_until:
            self._lingers_until = self.loop.time()
            self._start_timer(_LAST_SECONDS, self._on_lingered)
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that asked nothing more."""
        self.close_soon()

    def send_400_response(self, msg: str) -> None:
        """Refuse; called by uvicorn alone, for what it cannot parse."""
        self._refuse(RequestError(msg))

    # ------------------------------------------------------------- ends

    def give_up(self) -> None:
        """End the connection at once, to make room."""
        self.transport.abort()

    def close_soon(self) -> None:
        """Close once what was answered is sent, or given up."""
        if self._write_timer is None and self.transport.get_write_buffer_size():
            self._watch_unread(self.loop.time() + self._limits.answer_seconds)
        self.transport.close()

    def linger(self) -> None:
        """Drop what comes until the caller closes, for a bounded time."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        self._heard_at, self._lingers_until = now, now + _LINGER_SECONDS
        self._all.note_idle(self)
        self._unset_keepalive_if_required()
        self._start_timer(_IDLE_SECONDS, self._on_lingered)
        self.flow.resume_reading()
        self.transport.write_eof()

    def _on_lingered(self) -> None:
        left = min(self._heard_at + _IDLE_SECONDS, self._lingers_until) - self.loop.time()
        if left > 0.01:
            self._start_timer(left, self._on_lingered)
        else:
            self.transport.abort()

    def _refuse(self, error: CxrError) -> None:
        """Answer an error before, or in the place of, a request; nothing more is read then."""
        self._fault = error
        self._unset_keepalive_if_required()
        cycle = self.cycle
        if cycle and not cycle.response_complete and not cycle.more_body:
            # It is about a request that came ahead. The one before it is answered, and that is all.
            self.pipeline.clear()
            cycle.keep_alive = self._keeps_alive = False
            self.flow.pause_reading()
            return
        if cycle and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        answer = self._all.refuse(error, self.server_state.default_headers)
        if not cycle or cycle.response_complete or not cycle.response_started:
            self.transport.write(answer)
        self.linger()

    # ------------------------------------------------------------- times and sizes

    def _await_header(self) -> None:
        self._start_timer(self._limits.header_seconds, self._on_slow_header)

    def _on_slow_header(self) -> None:
        if not self._has_begun:
            self.transport.close()  # It asked nothing: no answer, which the next request could take for its own.
            return
        seconds = self._limits.header_seconds
        self._refuse(HeaderTooSlow(f"The request's header did not arrive within {seconds:g} s. Send it at once."))

    def _watch_unread(self, end: float, before: int = 0) -> None:
        """Give an answer up that is not read: too slowly, or not by its end."""
        unread = self.transport.get_write_buffer_size()
        if self.loop.time() >= end or (before and before - unread < self._limits.bytes_each_time):
            self._all.count("answer_not_read")
            self.transport.abort()
            return
        self._write_timer = self.loop.call_later(self._limits.body_seconds, self._watch_unread, end, unread)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.header_bytes:
            self._fault = self._too_large()
            raise self._fault

    def _too_large(self) -> HeaderTooLarge:
        return HeaderTooLarge(
            f"The request has more than {self._limits.header_bytes} bytes beside its body, the most that is accepted: "
            "shorten its address and header, or send its body in larger chunks."
        )

    def _start_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None


class _Answering:
    """What a request's answer sees of the transport: closing waits for a caller that is still sending.

    The header goes out with what follows it, in one call of the system and not in two.
    """

    def __init__(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        self._connection, self._cycle = connection, cycle
        self._header: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._header is None and self._cycle.response_started:
            self._header = data
            self._connection.loop.call_soon(self._flush)
        else:
            header, self._header = self._header, b"" if self._header is not None else None
            self._connection.transport.write(header + data if header else data)

    def _flush(self) -> None:
        if self._header:
            self.write(b"")

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()

    def close(self) -> None:
        self._flush()
        if self._cycle.more_body and not self._cycle.disconnected and not self.is_closing():
            self._connection.linger()
        else:
            self._connection.close_soon()
