"""The server of the application: its connections, and how it stops."""

import logging

import uvicorn
from fastapi import FastAPI

from app.api.connection import Connection
from app.api.connections import Connections, ServerConfig
from app.service import Service

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, with limits on connections, that stops in steps."""

    def __init__(self, app: FastAPI) -> None:
        """Serve an application of ``app.main``."""
        self._service: Service = app.state.service
        settings = self._service.settings
        self._connections = Connections(settings.max_connections, self._service.metrics)
        super().__init__(
            ServerConfig(
                app,
                settings,
                self._connections,
                http=Connection,
                ws="none",  # There is nothing of it, and uvicorn would log the addresses that are asked for.
                log_config=None,
                access_log=False,
                proxy_headers=False,  # Nothing depends on who a proxy says is asking: who asks could say it too.
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
