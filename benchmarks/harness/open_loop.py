"""Load at a constant rate, whatever the server does: each request on a connection of its own, at its moment."""

import asyncio
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    Attributes:
        due: When it was to be sent, on the clock of ``time.monotonic``.
        index: Of what was sent.
        ended: When its answer was complete, or its connection lost.
        status: 0 without a whole answer.
        retry_after: The header's value, if there is one.
        body: Of the answer.
    """

    due: float
    index: int
    ended: float = 0
    status: int = 0
    retry_after: str = ""
    body: bytes = b""

    @property
    def seconds(self) -> float:
        """From the moment at which it was to be sent."""
        return self.ended - self.due


@dataclass(frozen=True)
class Storm:
    """What came of a load.

    Attributes:
        uploads: All of them, in the order of sending.
        probes: The requests for liveness meanwhile.
        began: Moment of the first.
        sent: Moment of the last.
        generator_cores: Processor time of this process over the time of sending.
    """

    uploads: list[Exchange]
    probes: list[Exchange]
    began: float
    sent: float
    generator_cores: float


class _Caller(asyncio.Protocol):
    """Sends one request and waits for its answer; sends all of it, as most clients do, before it looks."""

    def __init__(self, request: bytes, exchange: Exchange, left: "_Left") -> None:
        self._request, self._exchange, self._left = request, exchange, left
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass of it
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = bytes(self._received).partition(b"\r\n\r\n")
        if not found:
            return
        lines = [line.partition(b":") for line in head.split(b"\r\n")]
        headers = {name.lower(): value.strip() for name, _, value in lines[1:]}
        if len(body) >= int(headers[b"content-length"]):
            exchange = self._exchange
            exchange.status = int(head[9:12])
            exchange.retry_after = headers.get(b"retry-after", b"").decode()
            exchange.body = body
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._exchange.ended = time.monotonic()
        self._left.end()


@dataclass
class _Left:
    """How many exchanges have not ended."""

    count: int
    all_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self) -> None:
        self.count -= 1
        if not self.count:
            self.all_ended.set()


def blow(url: str, requests: Sequence[bytes], rate: float, seconds: float, probe: bytes, probe_seconds: float) -> Storm:
    """Send requests in turn at a constant rate, and probes beside them; wait for all answers.

    Args:
        url: Of the server.
        requests: Whole requests, header and body.
        rate: Requests a second.
        seconds: How long to send.
        probe: A whole request.
        probe_seconds: From one probe to the next.
    """
    return uvloop.run(_blow(url, requests, rate, seconds, probe, probe_seconds))


async def _blow(
    url: str, requests: Sequence[bytes], rate: float, seconds: float, probe: bytes, probe_seconds: float
) -> Storm:
    host, port = urlsplit(url).hostname, urlsplit(url).port
    loop, before = asyncio.get_running_loop(), resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic() + 0.1
    uploads = [Exchange(began + number / rate, number % len(requests)) for number in range(int(seconds * rate))]
    probes = [Exchange(began + number * probe_seconds, -1) for number in range(int(seconds / probe_seconds))]
    left = _Left(len(uploads) + len(probes))
    connecting = set()

    async def connect(exchange: Exchange) -> None:
        request = probe if exchange.index < 0 else requests[exchange.index]
        try:
            await loop.create_connection(lambda: _Caller(request, exchange, left), host, port)
        except OSError:
            exchange.ended = time.monotonic()
            left.end()

    for exchange in sorted(uploads + probes, key=lambda exchange: exchange.due):
        await asyncio.sleep(exchange.due - time.monotonic())
        task = loop.create_task(connect(exchange))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
    sent, after = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    await left.all_ended.wait()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Storm(uploads, probes, began, sent, used / (sent - began))
