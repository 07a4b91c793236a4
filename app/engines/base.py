"""What a service or a training command asks of whatever runs the SavedModel."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.artifact import Precision
from app.outputs import Outputs


class Engine(Protocol):
    """A loaded model. Safe to call from several threads.

    Attributes:
        name: "openvino" or "tensorflow".
        precision: Of the arithmetic: "f32", "bf16" or "int8".
        batch_size: How many images one call of the network takes besides 1. Fewer are computed one at a time.
        streams: How many calls of ``batch_size`` images run beside each other.
        description: For people: the engine's version and how it runs.
    """

    name: str
    precision: Precision
    batch_size: int
    streams: int
    description: str

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run the network.

        Args:
            images: float32 (N, 224, 224, 3) in 0..1, of any N.

        Raises:
            InferenceFailed: The engine raised.
        """
        ...
