"""Upload bytes to a prediction. Knows nothing of HTTP."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.artifact import POSITIVE, Metadata
from app.engines import Engine
from app.imaging import DecodeLimits, GreyImage, decode, to_network_input, to_square


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model answers for one image.

    Attributes:
        label: COVID-19's name where its probability reaches the threshold, else the other's.
        probabilities: By label, calibrated, summing to 1.
        image: The decoded upload.
        heatmap: Grad-CAM of the COVID-19 logit, float32 (h, w) in 0..1.
        seconds: Time spent, by stage: decode, infer.
    """

    label: str
    probabilities: dict[str, float]
    image: GreyImage
    heatmap: NDArray[np.float32]
    seconds: dict[str, float]


class Predictor:
    """Decode, preprocess and infer with one engine. Safe to call from several threads."""

    def __init__(self, metadata: Metadata, engine: Engine, limits: DecodeLimits) -> None:
        """Serve the model that ``metadata`` describes through ``engine``."""
        self._metadata, self._engine, self._limits = metadata, engine, limits

    def predict(self, data: bytes) -> Prediction:
        """Answer one upload.

        Args:
            data: A file's bytes, of any accepted format.

        Raises:
            UploadError: The upload cannot be answered.
            InferenceFailed: The engine raised.
        """
        seconds: dict[str, float] = {}
        with _timed(seconds, "decode"):
            image = decode(data, self._limits)
            batch = to_network_input(to_square(image.pixels)[np.newaxis])  # (1, 224, 224, 3)
        with _timed(seconds, "infer"):
            outputs = self._engine.infer(batch)
        probabilities = outputs.probabilities[0]
        labels = self._metadata.labels
        is_positive = probabilities[POSITIVE] >= self._metadata.threshold
        return Prediction(
            label=labels[POSITIVE] if is_positive else labels[1 - POSITIVE],
            probabilities={label: float(p) for label, p in zip(labels, probabilities, strict=True)},
            image=image,
            heatmap=outputs.heatmap[0],
            seconds=seconds,
        )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = time.perf_counter() - start
