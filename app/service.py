"""The served model over its life: loading, ready, failed."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from app.artifact import Artifact
from app.engines import Engine, load_engine
from app.errors import NotReady, Overloaded
from app.imaging import DecodeLimits
from app.metrics import Metrics
from app.predictor import Prediction, Predictor
from app.settings import Settings

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class Service:
    """Admits uploads, answers them in worker threads, and knows whether it is ready.

    Attributes:
        artifact: The verified model folder.
        engine: None until the model is loaded, reproduces the golden outputs, and has warmed up by it.
    """

    def __init__(self, settings: Settings, artifact: Artifact, metrics: Metrics) -> None:
        """Prepare to serve an artifact; ``load`` makes it ready."""
        self.settings, self.artifact, self.metrics = settings, artifact, metrics
        self.engine: Engine | None = None
        self._predictor: Predictor | None = None
        self._uploads = 0
        self._workers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="predict")

    async def load(self) -> None:
        """Load the engine in a thread, so that the service already answers that it lives.

        Raises:
            CxrError: The engine is missing, or the model does not answer as when it was exported.
        """
        settings, metadata = self.settings, self.artifact.metadata
        engine = await asyncio.to_thread(
            load_engine, settings.engine, self.artifact, threads=settings.threads, cache_dir=settings.cache_dir
        )
        limits = DecodeLimits(settings.max_pixels, settings.max_upload_bytes, settings.modalities)
        self._predictor = Predictor(metadata, engine, limits)
        self.engine = engine
        self.metrics.model.labels(
            metadata.name, metadata.version, self.artifact.digest, engine.name, engine.precision
        ).set(1)
        self.metrics.ready.set(1)
        logger.info(
            "ready", extra={"fields": {"model": f"{metadata.name}/{metadata.version}", "engine": engine.description}}
        )

    async def predict(self, data: bytes) -> Prediction:
        """Answer one upload in a worker thread."""
        predictor = self.require_ready()
        prediction = await self.run(predictor.predict, data)
        self.metrics.predictions.labels(prediction.label, prediction.image.format).inc()
        for stage, seconds in prediction.seconds.items():
            self.metrics.stage_seconds.labels(stage).observe(seconds)
        return prediction

    async def run(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Run a function of the processor's in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)

    def require_ready(self) -> Predictor:
        """Return the predictor.

        Raises:
            NotReady: The model is still being loaded.
        """
        if self._predictor is None:
            raise NotReady("The model is still being loaded and verified. Try again in a moment.")
        return self._predictor

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count an upload in; everything it holds in memory is held inside.

        Raises:
            Overloaded: As many uploads as the setting admits are in progress.
        """
        self.require_ready()
        if self._uploads >= self.settings.max_concurrent_requests:
            raise Overloaded(
                f"{self._uploads} uploads are in progress, the most that is admitted. Try again after the given time."
            )
        self._uploads += 1
        self.metrics.in_progress.set(self._uploads)
        try:
            yield
        finally:
            self._uploads -= 1
            self.metrics.in_progress.set(self._uploads)

    def close(self) -> None:
        """Wait for work in progress and stop the workers."""
        self.metrics.ready.set(0)
        self._workers.shutdown()
