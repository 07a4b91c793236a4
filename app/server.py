"""The server of the application: its connections, and how it stops.

Stopped by SIGTERM it first says at ``/readyz`` that it is not ready, and goes on serving for ``CXR_DRAIN_MS``, in which
a load balancer turns to others; then it closes its port, answers what is in progress, and ends. Requests that are
still in progress after ``CXR_SHUTDOWN_TIMEOUT_MS`` are answered 503. SIGINT, which people send, has no drain time. A
second signal ends the process at once, and whatever hangs does not outlive the limit by more than two seconds.
"""

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from app.api.connection import Connection
from app.api.connections import Connections, ServerConfig
from app.errors import SettingError
from app.service import Service

logger = logging.getLogger(__name__)

_OTHER_FILES: Final = 200
"""Beside connections: libraries, the cache, pipes to decoders, and connections that are being closed."""

LAST_SECONDS: Final = 2.0
"""After the limit: for the answers to those who were cut off, and the batches that are being computed."""


class Server(uvicorn.Server):
    """uvicorn, with limits on connections, that stops in steps."""

    def __init__(self, app: FastAPI) -> None:
        """Serve an application of ``app.main``."""
        self._service: Service = app.state.service
        self._settings = self._service.settings
        self._connections = Connections(self._settings.max_connections, self._service.metrics)
        self._close_at: float | None = None
        self._stopped_by: signal.Signals | None = None
        config = ServerConfig(
            app,
            self._settings,
            self._connections,
            http=Connection,
            ws="none",  # There is nothing of it, and uvicorn would log the addresses that are asked for.
            log_config=None,
            access_log=False,
            proxy_headers=False,  # Nothing depends on who a proxy says is asking: who asks could say it too.
            server_header=False,
            timeout_graceful_shutdown=self._settings.shutdown_timeout_ms / 1000,
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop at the first signal, and end at the second."""
        if self._stopped_by is not None:
            _end_now(128 + sig, "Stopped by a second signal.")
        self._stopped_by = signal.Signals(sig)
        drain_seconds = self._settings.drain_ms / 1000 if sig == signal.SIGTERM else 0
        self._connections.is_draining = True
        self._service.begin_to_stop()
        limit = drain_seconds + self._settings.shutdown_timeout_ms / 1000 + LAST_SECONDS
        watchdog = threading.Timer(limit, _end_now, (1, f"Something hung: not stopped after {limit:g} s."))
        watchdog.daemon = True
        watchdog.start()
        if drain_seconds:
            self._close_at = time.monotonic() + drain_seconds
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether it is time to close the port."""
        if self._close_at and self._stopped_by and time.monotonic() >= self._close_at and not self.should_exit:
            super().handle_exit(self._stopped_by, None)
        return await super().on_tick(counter)


def raise_file_limit(max_connections: int) -> None:
    """Let the process open as many files as its connections need: each is one.

    Raises:
        SettingError: The system does not let it.
    """
    if sys.platform == "win32":
        return
    import resource

    needed = max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            lower = f"Set it to at most {hard - _OTHER_FILES}, or raise" if hard > _OTHER_FILES else "Raise"
            raise SettingError(
                f"CXR_MAX_CONNECTIONS {max_connections} needs {needed} open files, and the system allows {hard}. "
                f"{lower} the limit (ulimit -Hn, or nofile in Docker)."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _end_now(code: int, message: str) -> None:
    with suppress(OSError):  # It may be closed.
        os.write(2, f"error: {message}\n".encode())
    os._exit(code)
