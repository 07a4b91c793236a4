"""What every measured path must answer: the engine's own probabilities, computed without a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from app.artifact import POSITIVE, Artifact, open_artifact
from app.engines import Engine, load_engine
from app.imaging import decode, to_network_input, to_square

_TOLERANCE: Final = 0.01
"""For a precision without a tolerance of its own in the artifact. Source: the limit under which one is served."""


@dataclass(frozen=True)
class Reference:
    """The engine's answers to a few files.

    Attributes:
        model: Name, version and precision, for people.
        folder: The artifact's.
        precision: What the engine chose: "f32" or "bf16".
        label: Of the positive class.
        probabilities: Of the positive class, by file.
        tolerance: Largest difference between two engines or batch sizes.
    """

    model: str
    folder: Path
    precision: str
    label: str
    probabilities: tuple[float, ...]
    tolerance: float

    def agrees(self, index: int, probability: float) -> bool:
        """Whether a probability is what the engine answers to this file."""
        return abs(probability - self.probabilities[index]) <= self.tolerance

    def __str__(self) -> str:
        """Say which model, and between which probabilities an answer can be wrong."""
        low, high = min(self.probabilities), max(self.probabilities)
        return f"{self.model}; probabilities {low:.3f} to {high:.3f}, checked to {self.tolerance:g}"


def service_engine(artifact: Artifact) -> Engine:
    """Load the engine as the service does by default. Peers serve it too, so that only the server differs."""
    return load_engine("openvino", artifact)


def network_input(files: list[bytes]) -> np.ndarray:
    """Decode and preprocess, float32 (N, 224, 224, 3) in 0..1."""
    return to_network_input(np.stack([to_square(decode(file).pixels) for file in files]))


def make_reference(model: Path, files: tuple[bytes, ...]) -> Reference:
    """Answer every file, one at a time.

    Raises:
        SystemExit: The model cannot be used.
    """
    artifact = open_artifact(model)
    engine = service_engine(artifact)
    answers = [engine.infer(network_input([file])).probabilities[0, POSITIVE] for file in files]
    metadata = artifact.metadata
    return Reference(
        model=f"{metadata.name}/{metadata.version}, {engine.precision}",
        folder=artifact.path,
        precision=engine.precision,
        label=metadata.labels[POSITIVE],
        probabilities=tuple(map(float, answers)),
        tolerance=metadata.tolerances.get(engine.precision, _TOLERANCE),
    )
