"""The decoders of a service: one is taken for each image, and replaced when it fails."""

import logging
import os
import signal
import threading
from collections import deque
from contextlib import suppress
from typing import Final, NoReturn

from app.decoding.messages import Terms
from app.decoding.processes import Decoded, DecoderProcess, DecoderRaised, NurseryProcess, OutOfMemory
from app.errors import DecoderFailed, DecoderUnavailable, UploadError
from app.metrics import Metrics

logger = logging.getLogger(__name__)

_REASONS: Final = ("crash", "time", "memory", "ended", "stuck")
_ADVICE: Final = "Check that the file opens in an image viewer, then save or export it again and send that."


class Decoders:
    """Decodes uploads in processes of their own, as many at a time as threads call it."""

    def __init__(self, terms: Terms, patience_seconds: float, metrics: Metrics) -> None:
        """Prepare; ``start`` makes it ready.

        Args:
            terms: Of each decoder.
            patience_seconds: By the clock, for one image. The decoders' processor time is limited by the terms; what
                takes longer than this is kept from the processor, or waits for something that never comes.
            metrics: Of the service.
        """
        self._terms, self._patience_seconds, self._metrics = terms, patience_seconds, metrics
        self._idle: deque[DecoderProcess] = deque()
        self._nursery: NurseryProcess | None = None
        self._closed = False
        self._lock = threading.Lock()
        for reason in _REASONS:
            metrics.decoder_failures.labels(reason)  # seen as 0 before the first: what grows from nothing has no rate

    def start(self) -> None:
        """Start what starts decoders, and the first of them.

        Raises:
            DecoderUnavailable: It cannot be started here.
        """
        if not hasattr(os, "fork"):
            raise DecoderUnavailable(
                "Uploads are decoded in forked processes, which this system does not have. "
                "Run the service on Linux or macOS; on Windows in its Linux subsystem or in Docker."
            )
        self._give_back(self._start_decoder())

    def decode(self, data: bytes, *, with_preview: bool) -> Decoded:
        """Decode and preprocess one upload.

        Args:
            data: A file's bytes, of any accepted format.
            with_preview: Keep what an overlay is drawn on.

        Raises:
            UploadError: The upload cannot be answered; ``DecoderFailed`` where it is what ended the decoder.
            DecoderUnavailable: The decoder was ended from outside, or cannot be started.
        """
        decoder = self._take()
        try:
            decoded = decoder.decode(data, self._patience_seconds, with_preview=with_preview)
        except UploadError:
            self._give_back(decoder)
            raise
        except (OutOfMemory, DecoderRaised, ValueError, OSError) as error:
            self._fail(error, decoder.end())
        self._give_back(decoder)
        return decoded

    def close(self) -> None:
        """End all decoders, those too that are decoding."""
        with self._lock:
            self._closed = True
            if self._nursery:
                self._nursery.close()
            while self._idle:
                self._idle.pop().end()

    def _take(self) -> DecoderProcess:
        """Take the decoder that was used last, whose memory is warm; start one where none is left."""
        while self._idle:
            with suppress(IndexError):  # Another thread took it.
                decoder = self._idle.pop()
                if decoder.is_alive:
                    return decoder
                self._note("ended", decoder.end())
        return self._start_decoder()

    def _give_back(self, decoder: DecoderProcess) -> None:
        with self._lock:
            if self._closed:
                decoder.end()
            else:
                self._idle.append(decoder)

    def _start_decoder(self) -> DecoderProcess:
        with self._lock:
            if self._closed:
                raise DecoderUnavailable("The service is stopping.")
            if self._nursery is None or not self._nursery.is_alive:
                self._nursery = NurseryProcess(self._terms)
            try:
                return DecoderProcess(self._nursery)
            except OSError as error:
                raise DecoderUnavailable("No decoder could be started for the image. Try again.") from error

    def _fail(self, error: Exception, exit_code: int | None) -> NoReturn:
        """Raise what the caller should know of a decoder that has failed."""
        reason = _reason(error, exit_code)
        self._note(reason, exit_code, error.args if isinstance(error, DecoderRaised) else ())
        if reason in ("ended", "stuck"):
            raise DecoderUnavailable(
                "The decoder of this image was ended from outside or kept from running; the machine may be short of "
                "memory. Try again, with fewer requests at a time."
            ) from error
        raise DecoderFailed(self._message(reason)) from error

    def _message(self, reason: str) -> str:
        if reason == "time":
            return (
                f"Decoding this image took more than {1000 * self._terms.cpu_seconds:.0f} ms of processor time, "
                f"the most that CXR_DECODE_TIMEOUT_MS gives. {_ADVICE}"
            )
        if reason == "memory":
            return f"Decoding this image took more memory than images within the limits need. {_ADVICE}"
        return f"The decoder broke down on this image, as damaged files can make it. {_ADVICE}"

    def _note(self, reason: str, exit_code: int | None, places: tuple[str, ...] = ()) -> None:
        if self._closed:
            return  # We ended it.
        self._metrics.decoder_failures.labels(reason).inc()
        fields = {"reason": reason, "exit_code": exit_code, **({"exception": places} if places else {})}
        logger.warning("a decoder failed and is replaced", extra={"fields": fields})


def _reason(error: Exception, exit_code: int | None) -> str:
    """Tell why a decoder gave no answer.

    Returns:
        "memory"; "time": of the processor; "stuck": no answer by the clock; "ended": from outside, as the kernel does
        where memory is short; "crash": all else.
    """
    if isinstance(error, OutOfMemory):
        return "memory"
    if isinstance(error, TimeoutError):
        return "stuck"
    if isinstance(error, OSError):
        by_code = {-signal.SIGPROF: "time", -signal.SIGKILL: "ended", None: "ended"}
        return by_code.get(exit_code, "crash")
    return "crash"
