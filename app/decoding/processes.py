"""The nursery and its decoders, as the service sees them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

import app
from app.decoding.fences import ENVIRONMENT
from app.decoding.messages import (
    ANSWER,
    DECODED,
    END,
    FAILED,
    MAX_JSON_BYTES,
    ORDER,
    OUT_OF_MEMORY,
    READY,
    REFUSED,
    REPLY,
    REQUEST,
    SQUARE_BYTES,
    START,
    Terms,
)
from app.errors import DecoderUnavailable, UploadError
from app.imaging import IMAGE_SIZE, ImageFacts
from app.overlay import LONGEST_SIDE

_ROOT: Final = Path(app.__file__).parents[1]
_PATIENCE_SECONDS: Final = 60
"""For what the nursery does at once, on a machine that does other things too."""
_STOP_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What is kept of an upload while it waits: some 50 kB, however large it was.

    Attributes:
        facts: Of the image.
        square: What the network sees, uint8 (224, 224).
        preview: For an overlay, uint8 (H, W), where it was asked for.
    """

    facts: ImageFacts
    square: NDArray[np.uint8]
    preview: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An ``UploadError`` as a decoder tells it."""

    code: str
    message: str


class OutOfMemory(Exception):
    """The decoder needed more memory for an image than it may take."""


class DecoderRaised(Exception):
    """The decoder's own code raised: the arguments are types and places."""


class NurseryProcess:
    """Starts and ends decoders. Safe to call from several threads."""

    def __init__(self, terms: Terms) -> None:
        """Start it, and wait until it has imported what decoders need.

        Raises:
            DecoderUnavailable: It ended instead.
        """
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_PATIENCE_SECONDS)
        # Ctrl-C reaches all processes of a terminal, and a service manager may end all of a service: the nursery and
        # its decoders ignore both, from their first moment on, and end when the service does.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "app.decoding.nursery", terms.to_json()],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": _python_path()},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        try:
            self._receive(len(READY))
        except OSError as error:
            self.close()
            raise DecoderUnavailable(
                f"The process that starts decoders ended with exit code {self._process.returncode} before it was ready."
            ) from error

    @property
    def is_alive(self) -> bool:
        """Whether it can still start decoders."""
        return self._process.poll() is None

    def start(self, connection: socket.socket) -> int:
        """Start a decoder that serves a socket, and return its process id.

        Raises:
            OSError: It cannot.
        """
        with self._lock:
            socket.send_fds(self._control, [ORDER.pack(START, 0)], [connection.fileno()])
            (reply,) = REPLY.unpack(self._receive(REPLY.size))
        if reply < 0:
            raise OSError(-reply, os.strerror(-reply))
        return int(reply)

    def end(self, pid: int) -> int:
        """Kill a decoder, unless it has ended already, and return its exit code.

        Raises:
            OSError: It cannot; the decoder then ends with the nursery.
        """
        with self._lock:
            self._control.sendall(ORDER.pack(END, pid))
            (reply,) = REPLY.unpack(self._receive(REPLY.size))
        return int(reply)

    def close(self) -> None:
        """Kill all decoders and stop."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._control.close()

    def _receive(self, size: int) -> bytes:
        return receive_until(self._control, size, time.monotonic() + _PATIENCE_SECONDS)


class DecoderProcess:
    """A decoder. One thread at a time may use it."""

    def __init__(self, nursery: NurseryProcess) -> None:
        """Start one.

        Raises:
            OSError: It cannot be started.
        """
        self._nursery = nursery
        self._connection, theirs = socket.socketpair()
        with theirs:
            try:
                self._pid = nursery.start(theirs)
            except BaseException:
                self._connection.close()
                raise

    @property
    def is_alive(self) -> bool:
        """Whether it waits for an upload."""
        self._connection.setblocking(False)
        try:
            self._connection.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # It has ended, or said what nobody asked for.

    def decode(self, data: bytes, seconds: float, *, with_preview: bool) -> Decoded:
        """Have an upload decoded.

        Args:
            data: A file's bytes, of any accepted format.
            seconds: To wait.
            with_preview: Keep what an overlay is drawn on.

        Raises:
            UploadError: The upload cannot be answered.
            OutOfMemory: It needs more memory than there is.
            DecoderRaised: Through a fault of our own.
            TimeoutError: There is no answer yet.
            OSError: The decoder has ended.
            ValueError: The answer is none that a decoder gives.
        """
        deadline = time.monotonic() + seconds
        self._connection.settimeout(seconds)
        self._connection.sendall(REQUEST.pack(len(data), with_preview))
        self._connection.sendall(data)
        kind, json_bytes, *size = ANSWER.unpack(self._receive(ANSWER.size, deadline))
        if json_bytes > MAX_JSON_BYTES or max(size) > LONGEST_SIDE:
            raise ValueError("an answer of this size")
        described = self._receive(json_bytes, deadline)
        if kind != DECODED:
            raise _error(kind, described)
        square = np.frombuffer(self._receive(SQUARE_BYTES, deadline), np.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE)
        preview = None
        if with_preview:
            preview = np.frombuffer(self._receive(size[0] * size[1], deadline), np.uint8).reshape(size)
        return Decoded(_FACTS.validate_json(described), square, preview)

    def end(self) -> int | None:
        """Kill it, unless it has ended already, and return its exit code; None where that cannot be known."""
        self._connection.close()
        try:
            return self._nursery.end(self._pid)
        except OSError:
            return None

    def _receive(self, size: int, deadline: float) -> bytes:
        return receive_until(self._connection, size, deadline)


def receive_until(connection: socket.socket, size: int, deadline: float) -> bytes:
    """Read so many bytes from a socket.

    Raises:
        TimeoutError: They have not come by the deadline, of ``time.monotonic``.
        OSError: The socket has ended.
    """
    data = bytearray(size)
    missing = memoryview(data)
    while missing:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))  # 0 would mean not to wait at all
        count = connection.recv_into(missing)
        if not count:
            raise ConnectionResetError("the other end is closed")
        missing = missing[count:]
    return bytes(data)


def _error(kind: bytes, described: bytes) -> Exception:
    if kind == REFUSED:
        refusal = _REFUSAL.validate_json(described)
        error = _UPLOAD_ERRORS.get(refusal.code, UploadError)
        return error(refusal.message)
    if kind == OUT_OF_MEMORY:
        return OutOfMemory()
    if kind == FAILED:
        return DecoderRaised(*_PLACES.validate_json(described))
    return ValueError("an answer of this kind")


def _upload_errors(kind: type[UploadError] = UploadError) -> Iterator[type[UploadError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _upload_errors(below)


_FACTS: Final = TypeAdapter(ImageFacts)
_REFUSAL: Final = TypeAdapter(Refusal)
_PLACES: Final = TypeAdapter(list[str])
_UPLOAD_ERRORS: Final = {error.code: error for error in _upload_errors()}


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
