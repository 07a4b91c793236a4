"""The service in a thread of this process, on a real socket, with a made-up engine."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TypeAlias

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.decoding.messages import Terms
from app.decoding.processes import Decoded
from app.engines import Engine
from app.imaging import to_square
from app.imaging.decode import decode
from app.keys import KeyRing
from app.main import create_app
from app.outputs import Outputs
from app.overlay import preview_of
from app.server import Server
from app.service import Service
from app.settings import Settings
from tests.app.fakes import FakeEngine, artifact
from tests.app.gates import WAIT_SECONDS, Gate
from tests.app.server import metric

Serve: TypeAlias = Callable[..., AbstractContextManager["ServiceClient"]]


class ServiceClient(httpx.Client):
    """A client of a service that runs in a thread.

    Attributes:
        service: What runs there.
        address: Host and port.
        ended: Set once the model is loaded, or cannot be.
        failures: Why it cannot.
    """

    def __init__(self, described: Mapping[str, object], **settings: object) -> None:
        self.ended = threading.Event()
        self.failures: list[Exception] = []
        chosen = Settings(**settings)
        keys = KeyRing(chosen.api_keys_file) if chosen.api_keys_file else None
        app = create_app(chosen, artifact(**described), keys, on_ready=self.ended.set, on_failure=self._fail)
        self.service: Service = app.state.service
        self._server = Server(app)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))
        self._thread.start()
        super().__init__(base_url=f"http://127.0.0.1:{self.address[1]}", timeout=WAIT_SECONDS, trust_env=False)

    def metric(self, name: str, /, **labels: str) -> float:
        """Sum of the samples of this name that have these labels."""
        return metric(self, name, **labels)

    def close(self) -> None:
        super().close()
        self._server.should_exit = True
        self._thread.join()

    def _fail(self, error: Exception) -> None:
        self.failures.append(error)
        self.ended.set()


class ThreadDecoders:
    """Decodes in the calling thread: a test of the way through the service needs no processes."""

    def __init__(self, terms: Terms, *_: object) -> None:
        self._terms = terms

    def start(self) -> None: ...

    def close(self) -> None: ...

    def decode(self, data: bytes, *, with_preview: bool) -> Decoded:
        image = decode(data)
        square = to_square(image.pixels, version=self._terms.preprocessing_version)
        return Decoded(image.facts, square, preview_of(image.pixels) if with_preview else None)


class BlockingEngine(FakeEngine):
    """Answers once its gate is opened."""

    def __init__(self) -> None:
        self.gate = Gate()

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        self.gate.wait()
        return super().infer(images)


class StumblingEngine(FakeEngine):
    """Raises at the first call and then answers."""

    def __init__(self, error: Exception) -> None:
        self._errors = [error]

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        if self._errors:
            raise self._errors.pop()
        return super().infer(images)


class RecordingEngine(FakeEngine):
    """Notes what it was given.

    Attributes:
        gates: The first calls stop at these, one each.
        errors: Raised by the calls after these, one each.
        batches: Mean grey levels of the images, by call.
    """

    def __init__(self, *gates: Gate, batch_size: int = 8) -> None:
        self.gates, self.errors = list(gates), list[Exception]()
        self.batch_size = batch_size
        self.batches: list[list[int]] = []

    @property
    def computed(self) -> list[int]:
        """Of all batches, in order."""
        return [level for batch in self.batches for level in batch]

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        self.batches.append(np.rint(255 * images.mean(axis=(1, 2, 3))).astype(int).tolist())
        if self.gates:
            self.gates.pop(0).wait()
        elif self.errors:
            raise self.errors.pop(0)
        return super().infer(images)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve with what a function gives in place of a loaded engine, an artifact that may be described otherwise."""

    @contextmanager
    def serve(
        load: Callable[[], Engine], *, wait: bool = True, described: Mapping[str, object] = {}, **settings: object
    ) -> Iterator[ServiceClient]:
        monkeypatch.setattr("app.service.load_engine", lambda *_, **__: load())
        monkeypatch.setattr("app.service.Decoders", ThreadDecoders)
        with closing(ServiceClient(described, **settings)) as client:
            if wait:
                assert client.ended.wait(WAIT_SECONDS)
            yield client

    return serve
