"""Let a caller that is still sending its body read the answer.

An answer can stand before its request was read: too large, overloaded, no such address. A server that then
closes the connection with bytes unread resets it, and the caller sees a broken pipe where the answer was.
So the answer goes out first; what still comes is dropped, for a bounded time, before the connection is closed.
"""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LINGER_SECONDS: Final = 30
_IDLE_SECONDS: Final = 5
"""Source of both: nginx's defaults for the same (lingering_time, lingering_timeout)."""


class UnreadBody:
    """ASGI middleware that lingers on a request whose answer came before the end of its body."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        unread, held_back = True, False

        async def receive_and_note() -> Message:
            nonlocal unread
            message = await receive()
            unread = bool(message.get("more_body"))
            return message

        async def send_all_but_the_end(message: Message) -> None:
            nonlocal held_back
            if unread and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif unread and not message.get("more_body"):
                held_back = True
                message = {**message, "more_body": True}
            await send(message)

        await self._app(scope, receive_and_note, send_all_but_the_end)
        if held_back:
            await _drop_body(receive)
            await send({"type": "http.response.body"})


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def _drop_body(receive: Receive) -> None:
    now = asyncio.get_running_loop().time
    end = now() + _LINGER_SECONDS
    with suppress(TimeoutError):
        async with asyncio.timeout(_IDLE_SECONDS) as patience:
            while (await receive()).get("more_body"):
                patience.reschedule(min(now() + _IDLE_SECONDS, end))
