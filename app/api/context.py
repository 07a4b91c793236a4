"""Around every request: its id, log line, metrics and headers, and an answer whatever happens."""

import asyncio
import logging
import time
import uuid
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.headers import security_headers
from app.api.problems import answer_error, known_method, problem, status_of
from app.api.uploads import UPLOAD_PATHS
from app.errors import Stopping
from app.metrics import Metrics

logger = logging.getLogger("app.requests")

_QUIET_ROUTES: Final = frozenset({"/livez", "/readyz", "/metrics"})


class RequestContext:
    """ASGI middleware that gives a request its id and sees to its log line and metrics."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an application."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            await self._handle(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})
        state["request_id"] = uuid.uuid4().hex
        start, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (b"x-request-id", state["request_id"].encode())
                message["headers"] = security_headers(scope, [*message["headers"], own])
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            state["code"] = "client_disconnected"
        except asyncio.CancelledError:  # The server is ending, and cuts off what still runs.
            if not status:
                await self._answer_cut_off(scope, receive, send_with_id)
        except Exception as error:
            state["exception"] = error
            if not status:
                await self._answer_unexpected(scope, receive, send_with_id)
        self._report(scope, state, status, time.perf_counter() - start)

    async def _answer_cut_off(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = Stopping("The service is being stopped and could not answer in time. Try again.")
        answer = answer_error(Request(scope), error, status_of(Stopping))
        await answer(scope, receive, send)

    async def _answer_unexpected(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = (
            "The service failed on this request. The fault is its own; its log has the details under the request id."
        )
        answer = problem(Request(scope), 500, "internal_error", detail)
        await answer(scope, receive, send)

    def _report(self, scope: Scope, state: dict[str, object], status: int, seconds: float) -> None:
        route = state.get("route") or getattr(scope.get("route"), "path", "other")
        code, error, key = state.get("code"), state.get("exception"), state.get("key")
        method = known_method(scope["method"])
        self._metrics.requests.labels(route, method, status).inc()
        if key:
            self._metrics.key_requests.labels(key, status).inc()
        if 200 <= status < 400:  # Refusals are quick: among the others they would hide how long these take.
            self._metrics.request_seconds.labels(route).observe(seconds)
        if code and route in UPLOAD_PATHS:
            self._metrics.rejected.labels(code).inc()
        fields = {
            "request_id": state["request_id"],
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(1000 * seconds, 1),
            **({"key": key} if key else {}),
            **({"code": code} if code else {}),
            **state.get("fields", {}),  # type: ignore[dict-item]
        }
        level = logging.ERROR if error else logging.DEBUG if route in _QUIET_ROUTES else logging.INFO
        logger.log(level, "request", extra={"fields": fields}, exc_info=error if isinstance(error, Exception) else None)
