"""BentoML with its own adaptive batching around the service's decoding and engine.

``bentoml serve`` imports it; environment variables say what to serve: CXR_BENCH_MODEL, CXR_BENCH_WORKERS and
CXR_BENCH_BATCH_SIZE.
"""

import os
from pathlib import Path
from typing import Any

import bentoml

from benchmarks.peers.batch import BatchClassifier

BATCH_SIZE = int(os.environ["CXR_BENCH_BATCH_SIZE"])
_LATENCY_MS = 60_000
"""BentoML drops what it expects to take longer, with a 503. How long a batch waits it finds out by itself."""


@bentoml.service(workers=int(os.environ["CXR_BENCH_WORKERS"]), traffic={"timeout": _LATENCY_MS // 1000})
class Classifier:
    """The model in each worker."""

    def __init__(self) -> None:
        """Load the model."""
        self.classifier = BatchClassifier(Path(os.environ["CXR_BENCH_MODEL"]), BATCH_SIZE)

    @bentoml.api(batchable=True, max_batch_size=BATCH_SIZE, max_latency_ms=_LATENCY_MS)
    def predict(self, file: list[Path]) -> list[dict[str, Any]]:
        """Answer a batch of uploads, which BentoML gives as files."""
        return self.classifier.predict([path.read_bytes() for path in file])
