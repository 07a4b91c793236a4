"""What LitServe and BentoML serve: the service's own decoding and engine, a batch at a time.

Only the server differs from the service. A batch is decoded on as many threads as there are cores, which neither does
by itself.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from app.artifact import open_artifact
from app.imaging import decode, to_network_input, to_square
from benchmarks.harness.machine import usable_cores
from benchmarks.harness.reference import service_engine

Answer = dict[str, dict[str, float]]


class BatchClassifier:
    """Answers several files at once."""

    def __init__(self, model: Path) -> None:
        """Load the model folder."""
        artifact = open_artifact(model)
        self._labels = artifact.metadata.labels
        self._engine = service_engine(artifact)
        self._decoders = ThreadPoolExecutor(usable_cores())

    def warm_up(self, batch_size: int) -> None:
        """Run every batch size once, as the service does before it is ready."""
        for size in range(1, batch_size + 1):
            self._engine.infer(np.zeros((size, 224, 224, 3), np.float32))

    def predict(self, files: Sequence[bytes]) -> list[Answer]:
        """Decode, preprocess and run the files as one batch."""
        squares = list(self._decoders.map(_square, files))
        outputs = self._engine.infer(to_network_input(np.stack(squares)))
        return [
            {"probabilities": dict(zip(self._labels, map(float, row), strict=True))} for row in outputs.probabilities
        ]


def _square(file: bytes) -> np.ndarray:
    return to_square(decode(file).pixels)
