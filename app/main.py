"""Put the service together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import problems
from app.api.access import Access
from app.api.context import RequestContext
from app.api.page import page_router
from app.api.routes import metrics_router, model_router, router, upload_router
from app.api.shedding import Shedding
from app.artifact import Artifact
from app.errors import CxrError
from app.keys import KeyRing
from app.metrics import Metrics
from app.service import Service
from app.settings import Settings

logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Answers the probabilities of COVID-19 and non-COVID for a chest X-ray.

**Decision support for research, never a diagnosis.** What the model was trained on, what it reaches there
and what it cannot do: `GET /model`.
"""


def create_app(
    settings: Settings,
    artifact: Artifact,
    keys: KeyRing | None,
    *,
    on_ready: Callable[[], None],
    on_failure: Callable[[Exception], None],
) -> FastAPI:
    """Build the application for a verified artifact.

    Args:
        settings: Of the service.
        artifact: The model to serve; its engine is loaded once the application has started.
        keys: That are asked for; None: none are.
        on_ready: Called when the model is ready.
        on_failure: Called with the reason when the model cannot be served: the process should end.
    """
    service = Service(settings, artifact, Metrics())

    async def load() -> None:
        try:
            await service.load()
        except Exception as error:
            # Whatever it is: a process that will never be ready must not stay.
            if not isinstance(error, CxrError):
                logger.exception("The model could not be loaded.")
            on_failure(error)
        else:
            on_ready()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(load())
        yield
        await loading
        await service.close()

    app = _application(settings, artifact, lifespan)
    app.state.service = service
    access = Access(settings, keys)
    app.include_router(upload_router, dependencies=access.upload_guards)
    app.include_router(model_router, dependencies=access.guards)
    app.include_router(router)
    if settings.metrics != "closed":
        app.include_router(metrics_router, dependencies=access.guards if settings.metrics == "key" else [])
    app.include_router(page_router())
    problems.install(app)
    app.add_middleware(Shedding, service=service)
    app.add_middleware(RequestContext, metrics=service.metrics)
    return app


def _application(
    settings: Settings, artifact: Artifact, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]
) -> FastAPI:
    metadata = artifact.metadata
    options: dict[str, Any] = {
        "title": "Chest X-ray COVID-19 classifier",
        "description": _DESCRIPTION,
        "version": f"{metadata.name}/{metadata.version}",
        "redoc_url": None,
        "lifespan": lifespan,
        "redirect_slashes": False,  # They would lead to the scheme and name that this side of a proxy has.
    }
    return FastAPIOffline(**options) if settings.docs == "open" else FastAPI(openapi_url=None, **options)
