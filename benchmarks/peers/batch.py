"""What LitServe and BentoML serve: the service's own decoding and engine, a batch at a time.

Only the server differs from the service. A batch is decoded on as many threads as there are cores, which neither does
by itself.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from app.artifact import open_artifact
from app.engines import usable_cores
from app.imaging import to_network_input
from benchmarks.harness.reference import preprocessed, service_engine

Answer = dict[str, dict[str, float]]


class BatchClassifier:
    """Answers several files at once."""

    def __init__(self, model: Path, batch_size: int) -> None:
        """Load the model folder, compiled for one image and for full batches."""
        artifact = open_artifact(model)
        self._labels = artifact.metadata.labels
        self._preprocessing_version = artifact.metadata.preprocessing_version
        self._engine = service_engine(artifact, batch_size)
        self._decoders = ThreadPoolExecutor(usable_cores())

    def predict(self, files: Sequence[bytes]) -> list[Answer]:
        """Decode, preprocess and run the files as one batch."""
        squares = list(self._decoders.map(self._square, files))
        outputs = self._engine.infer(to_network_input(np.stack(squares)))
        return [
            {"probabilities": dict(zip(self._labels, map(float, row), strict=True))} for row in outputs.probabilities
        ]

    def _square(self, file: bytes) -> np.ndarray:
        return preprocessed(file, self._preprocessing_version)
