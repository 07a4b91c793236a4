"""Refuse uploads over what can be answered before anything else is done for them.

Under many times the load that can be answered, what a refusal costs is taken from those who are served. So it is
decided before routing and keys, by the path alone; a place is taken later, by those who may have one.
"""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import answer_error
from app.api.uploads import UPLOAD_PATHS
from app.service import Service


class Shedding:
    """ASGI middleware that refuses uploads while the service is full."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        """Wrap an application."""
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_upload = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in UPLOAD_PATHS
        if is_upload and (error := self._service.overload()):
            scope["state"]["route"] = scope["path"]
            answer = answer_error(Request(scope), error, self._service.settings.overload_status)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)
