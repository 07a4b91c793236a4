"""The served model over its life: loading, ready, failed; and the way of an upload through it."""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, Never, TypeVar

from app.admission import Admission
from app.artifact import Artifact
from app.batching import Batcher, Inferred, Place
from app.decoding.decoders import Decoders
from app.decoding.messages import Terms
from app.decoding.processes import Decoded
from app.engines import Engine, load_engine, usable_cores
from app.errors import BodyTooSlow, DeadlinePassed, NotReady, Overloaded, Stopping, UnlikeTraining, UploadError
from app.gate import Gate
from app.imaging import DecodeLimits, ImageWarning, Region, region_warnings, seen_region
from app.memory import tidy_up
from app.metrics import Metrics
from app.predictor import Prediction, Predictor
from app.settings import Settings
from app.upload_memory import Upload, UploadMemory

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """An upload and what the model answers.

    Attributes:
        decoded: The upload, without its pixels.
        seen: The part of the image that the network saw.
        prediction: The answer.
        found: What the input gate said of the image, where it was not refused.
        bytes: Of the upload.
        seconds: Time spent, by stage: read, decode, wait (for a place, a thread and the engine), infer.
    """

    decoded: Decoded
    seen: Region
    prediction: Prediction
    found: tuple[ImageWarning, ...]
    bytes: int
    seconds: dict[str, float]

    @property
    def warnings(self) -> tuple[ImageWarning, ...]:
        """What the sender should know."""
        facts = self.decoded.facts
        return (*facts.warnings, *region_warnings(facts.width, facts.height, self.seen), *self.found)


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """What exists once the model is loaded."""

    engine: Engine
    predictor: Predictor
    batcher: Batcher
    gate: Gate | None


class Service:
    """Admits uploads, answers them, and knows whether it is ready.

    Attributes:
        artifact: The verified model folder.
    """

    def __init__(self, settings: Settings, artifact: Artifact, metrics: Metrics) -> None:
        """Prepare to serve an artifact; ``load`` makes it ready."""
        self.settings, self.artifact, self.metrics = settings, artifact, metrics
        self._ready: _Ready | None = None
        self._is_stopping = False
        self._uploads = UploadMemory(
            settings.upload_memory_bytes,
            settings.max_queue,
            settings.body_timeout_ms / 1000,
            settings.body_timeout_bytes,
        )
        self._admission = Admission(settings, metrics, self._uploads, self._rest)
        self._workers = ThreadPoolExecutor(settings.threads or usable_cores(), thread_name_prefix="decode")
        limits = DecodeLimits(settings.max_pixels, settings.max_upload_bytes, settings.modalities)
        terms = Terms(limits, settings.decode_timeout_ms / 1000, artifact.metadata.preprocessing_version)
        self._decoders = Decoders(terms, settings.request_timeout_ms / 1000, metrics)
        for kind in UnlikeTraining.__subclasses__():
            metrics.gate_findings.labels(kind.code)  # seen as 0 before the first, as decoder failures are

    async def load(self) -> None:
        """Load the engine and start the decoders in threads, so that the service already answers that it lives.

        Raises:
            CxrError: The engine is missing, the model does not answer as when it was exported, its input gate is
                damaged, or decoders cannot be started.
        """
        settings, metadata = self.settings, self.artifact.metadata
        gate = None if settings.input_gate == "off" else Gate.load(self.artifact)
        loading = asyncio.to_thread(
            load_engine,
            settings.engine,
            self.artifact,
            precision=settings.precision,
            threads=settings.threads,
            streams=settings.streams,
            batch_size=settings.max_batch_size,
            cache_dir=settings.cache_dir,
        )
        engine, _ = await asyncio.gather(loading, asyncio.to_thread(self._decoders.start))
        predictor = Predictor(metadata, engine)
        batcher = Batcher(
            predictor.infer,
            self.metrics,
            batch_size=engine.batch_size,
            max_delay_seconds=settings.max_batch_delay_ms / 1000,
            streams=engine.streams,
        )
        self._ready = _Ready(engine, predictor, batcher, gate)
        # What was imported and built is never garbage. Left out of collections, these come often and are short.
        gc.collect()
        gc.freeze()
        self.metrics.model.labels(
            metadata.name, metadata.version, self.artifact.digest, engine.name, engine.precision
        ).set(1)
        if not self._is_stopping:
            self.metrics.ready.set(1)
        model = f"{metadata.name}/{metadata.version}"
        fields = {"model": model, "engine": engine.description, "input_gate": self.input_gate}
        logger.info("ready", extra={"fields": fields})
        if self.input_gate == "none":
            logger.warning("the model has no input gate: what is no chest radiograph is answered too")

    @property
    def input_gate(self) -> Literal["refuse", "warn", "off", "none"]:
        """What happens to images that are no upright frontal chest radiographs; none: the model has no gate."""
        setting = self.settings.input_gate
        return setting if setting == "off" or self.artifact.metadata.gate else "none"

    @property
    def engine(self) -> Engine:
        """The loaded engine; raises ``NotReady`` before."""
        return self.require_ready().engine

    def overload(self) -> Overloaded | None:
        """Return why another request must be refused, if it must; see ``Admission``."""
        return self._admission.overload(self._ready.batcher) if self._ready else None

    def admit(self) -> AbstractContextManager[None]:
        """Count a request in, from its arrival to its answer.

        Raises:
            NotReady: The model is still being loaded.
            Overloaded: When it is entered: as many requests as can be answered in time are in progress.
        """
        return self._admission.admit(self.require_ready().batcher)

    def _rest(self) -> None:
        if not self._is_stopping:
            self._workers.submit(tidy_up)

    async def answer(
        self,
        read: Callable[[Upload], Awaitable[bytes]],
        gone: Callable[[], Awaitable[Never]],
        *,
        with_preview: bool = False,
    ) -> Answered:
        """Read, decode and infer one admitted upload.

        Args:
            read: Reads the upload, and counts its bytes.
            gone: Raises once the caller has gone; called when the upload has been read.
            with_preview: Keep what an overlay is drawn on.

        Raises:
            UploadError: The upload cannot be answered, or is not what the model was made for.
            TooSlow: It does not keep coming, or the deadline passed.
            InferenceFailed: The engine raised.
        """
        ready = self.require_ready()
        start, seconds = time.perf_counter(), dict[str, float]()
        milliseconds, upload = self.settings.request_timeout_ms, None
        try:
            async with asyncio.timeout(milliseconds / 1000) as deadline:
                upload = self._uploads.open(lambda: deadline.reschedule(0))
                try:
                    with _timed(seconds, "read"):
                        data = await read(upload)
                except BaseException:
                    upload.close()
                    raise
                upload.end_reading()
                size = len(data)
                with ready.batcher.place() as place:
                    decode = partial(self._decoders.decode, data, with_preview=with_preview)
                    pending = self._start(decode, place, seconds, upload)
                    del data, decode  # While it waits, an upload is not held.
                    decoded, inferred = await _unless(gone, pending)
        except TimeoutError:
            raise _too_slow(milliseconds, upload if "read" not in seconds else None) from None
        seconds["infer"] = inferred.seconds
        seconds["wait"] = time.perf_counter() - start - sum(seconds.values())
        found = self._check(decoded, inferred)
        prediction = ready.predictor.prediction(inferred.outputs)
        self._note(decoded, prediction, seconds)
        return Answered(decoded, self._seen(decoded), prediction, found, size, seconds)

    def _seen(self, decoded: Decoded) -> Region:
        version = self.artifact.metadata.preprocessing_version
        return seen_region(decoded.facts.width, decoded.facts.height, version=version)

    def _check(self, decoded: Decoded, inferred: Inferred) -> tuple[ImageWarning, ...]:
        """Ask the input gate about an image, and warn where the settings do not have it refused.

        Raises:
            UnlikeTraining: It is refused.
        """
        gate = self.require_ready().gate
        finding = gate and gate.inspect(decoded.square, inferred.outputs.features[0], decoded.facts.coloured)
        if not finding:
            return ()
        self.metrics.gate_findings.labels(finding.code).inc()
        if self.settings.input_gate == "refuse":
            raise finding
        return (ImageWarning(finding.code, f"{finding} It was answered all the same: do not rely on the answer."),)

    def _start(
        self, decode: Callable[[], Decoded], place: Place, seconds: dict[str, float], upload: Upload
    ) -> Future[tuple[Decoded, Inferred]]:
        """Decode an upload on a worker, which queues it itself: a detour by the event loop would disturb the engine."""
        result: Future[tuple[Decoded, Inferred]] = Future()

        def work() -> None:
            if not result.set_running_or_notify_cancel():
                return  # Nobody waits any more.
            try:
                with _timed(seconds, "decode"):
                    decoded = decode()
                place.take(decoded.square).add_done_callback(partial(_pass_on, result, decoded))
            except UploadError as error:
                # With its traceback it would keep the upload, in a cycle with the result, until garbage is collected.
                result.set_exception(error.with_traceback(None))
            except Exception as error:
                result.set_exception(error)

        loop = asyncio.get_running_loop()
        self._workers.submit(work).add_done_callback(lambda _: loop.call_soon_threadsafe(upload.close))
        return result

    async def run(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Run a function of the processor's in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)

    def begin_to_stop(self) -> None:
        """Say from now on that it is not ready; requests are answered all the same."""
        self._is_stopping = True
        self.metrics.ready.set(0)

    async def close(self) -> None:
        """Wait for work in progress, save decoding, for which nobody waits any more, and stop threads and decoders.

        The event loop goes on meanwhile.
        """
        self.begin_to_stop()
        while self._admission.requests:  # They were cut off, and are being told so.
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self._stop_threads)

    def _stop_threads(self) -> None:
        self._decoders.close()
        self._workers.shutdown()
        if self._ready:
            self._ready.batcher.close()

    def check_readiness(self) -> None:
        """Return if requests should be sent here.

        Raises:
            NotReady: The model is not loaded yet.
            Stopping: The service is being stopped.
        """
        self.require_ready()
        if self._is_stopping:
            raise Stopping("The service is being stopped. Send requests to another one, or try again later.")

    def require_ready(self) -> _Ready:
        """Return what exists once the model is loaded.

        Raises:
            NotReady: It is not yet.
        """
        if self._ready is None:
            raise NotReady("The model is still being loaded and verified. Try again in a moment.")
        return self._ready

    def _note(self, decoded: Decoded, prediction: Prediction, seconds: dict[str, float]) -> None:
        self.metrics.predictions.labels(prediction.label, decoded.facts.format).inc()
        for stage, value in seconds.items():
            self.metrics.stage_seconds.labels(stage).observe(value)


def _pass_on(result: Future[tuple[Decoded, Inferred]], decoded: Decoded, inferring: Future[Inferred]) -> None:
    if inferring.cancelled():
        result.set_exception(CancelledError())  # Nobody waits any more.
    elif error := inferring.exception():
        result.set_exception(error)
    else:
        result.set_result((decoded, inferring.result()))


async def _unless(gone: Callable[[], Awaitable[Never]], future: Future[_T]) -> _T:
    """Wait for a future and cancel it when nobody waits any more: the caller has gone, or the deadline passed."""
    result, watch = asyncio.wrap_future(future), asyncio.ensure_future(gone())
    try:
        done, _ = await asyncio.wait((result, watch), return_when=asyncio.FIRST_COMPLETED)
        return result.result() if result in done else await watch
    finally:
        result.cancel()
        watch.cancel()


def _too_slow(milliseconds: int, being_read: Upload | None) -> BodyTooSlow | DeadlinePassed:
    limit = f"{milliseconds} ms, the time that CXR_REQUEST_TIMEOUT_MS gives a request"
    if being_read and not being_read.is_waiting:
        what = "came too slowly, or not at all for a while" if being_read.is_slow else f"did not arrive within {limit}"
        return BodyTooSlow(f"The upload {what}. Send it over a faster connection, or a smaller one.")
    return DeadlinePassed(f"No answer stood within {limit}. Try again, with fewer requests at a time.")


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
