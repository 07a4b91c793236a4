"""The servers that the service is measured against, and the settings to try for each."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.harness.servers import ROOT, Server, free_port

_FOLDER: Final = ROOT / "benchmarks" / "peers"


@dataclass(frozen=True)
class Settings:
    """How a peer is run.

    Attributes:
        description: For people.
        start: Starts it with a model folder and a file for its log.
    """

    description: str
    start: Callable[[Path, Path], Server]


@dataclass(frozen=True)
class Peer:
    """A server other than ours.

    Attributes:
        package: What must be installed.
        settings: To choose from; the fastest is measured.
    """

    package: str
    settings: tuple[Settings, ...]

    def is_installed(self) -> bool:
        """Whether it can be started here."""
        return find_spec(self.package) is not None


def _naive(model: Path, log: Path) -> Server:
    port = free_port()
    return Server([sys.executable, str(_FOLDER / "naive_server.py"), str(model), str(port)], log, {}, port)


def _litserve(workers: int, batch_size: int, wait_ms: int) -> Settings:
    def start(model: Path, log: Path) -> Server:
        port = free_port()
        arguments = map(str, (model, port, workers, batch_size, wait_ms))
        return Server([sys.executable, str(_FOLDER / "litserve_server.py"), *arguments], log, {}, port)

    return Settings(f"workers_per_device={workers}, max_batch_size={batch_size}, batch_timeout={wait_ms} ms", start)


def _bentoml(workers: int, batch_size: int) -> Settings:
    def start(model: Path, log: Path) -> Server:
        port = free_port()
        environment = {
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(log.with_suffix(".home")),
            "CXR_BENCH_MODEL": str(model),
            "CXR_BENCH_WORKERS": str(workers),
            "CXR_BENCH_BATCH_SIZE": str(batch_size),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        service = "benchmarks.peers.bentoml_server:Classifier"
        command = [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
        return Server(command, log, environment, port)

    return Settings(f"workers={workers}, max_batch_size={batch_size}, adaptive window", start)


PEERS: Final = {
    "naive": Peer("tensorflow", (Settings("FastAPI, tf.saved_model.load, one call a request", _naive),)),
    "litserve": Peer("litserve", tuple(_litserve(w, b, ms) for w, b, ms in ((1, 8, 10), (1, 16, 10), (2, 8, 10)))),
    "bentoml": Peer("bentoml", tuple(_bentoml(w, b) for w, b in ((1, 8), (1, 16), (2, 8)))),
}
"""Batches of 8 let a worker run one while 8 of 16 callers send; two workers decode and run at the same time."""
