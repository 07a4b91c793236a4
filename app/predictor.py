"""Decoded uploads to predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.artifact import POSITIVE, Metadata
from app.batching import Square
from app.engines import Engine
from app.imaging import to_network_input
from app.outputs import Outputs


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model answers for one image.

    Attributes:
        label: COVID-19's name where its probability reaches the threshold, else the other's.
        probabilities: By label, calibrated, summing to 1.
        heatmap: Grad-CAM of the COVID-19 logit, float32 (h, w) in 0..1, of the same pass through the network.
    """

    label: str
    probabilities: dict[str, float]
    heatmap: NDArray[np.float32]


class Predictor:
    """The stages around one engine. Safe to call from several threads."""

    def __init__(self, metadata: Metadata, engine: Engine) -> None:
        """Serve the model that ``metadata`` describes through ``engine``."""
        self._metadata, self._engine = metadata, engine

    def infer(self, squares: Sequence[Square]) -> Outputs:
        """Run the network on a batch.

        Args:
            squares: Each uint8 (224, 224).

        Raises:
            InferenceFailed: The engine raised.
        """
        return self._engine.infer(to_network_input(np.stack(squares)))

    def prediction(self, outputs: Outputs) -> Prediction:
        """Read the outputs of one image, with N = 1."""
        probabilities, labels = outputs.probabilities[0], self._metadata.labels
        is_positive = probabilities[POSITIVE] >= self._metadata.threshold
        return Prediction(
            label=labels[POSITIVE] if is_positive else labels[1 - POSITIVE],
            probabilities={label: float(p) for label, p in zip(labels, probabilities, strict=True)},
            heatmap=outputs.heatmap[0],
        )
