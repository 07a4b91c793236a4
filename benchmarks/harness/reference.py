"""What every measured path must answer: the engine's own probabilities, computed without a server."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from app.artifact import POSITIVE, Artifact, open_artifact
from app.engines import Engine, load_engine
from app.errors import CxrError
from app.imaging import to_network_input, to_square
from app.imaging.decode import decode
from benchmarks.harness.caller import WrongAnswers
from benchmarks.harness.machine import describe_machine
from benchmarks.harness.radiographs import Radiographs, make_radiographs
from benchmarks.harness.servers import end_in_order_when_terminated

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
        preprocessing_version: The artifact's.
    """

    model: str
    folder: Path
    precision: str
    label: str
    probabilities: tuple[float, ...]
    tolerance: float
    preprocessing_version: int

    def square(self, file: bytes) -> np.ndarray:
        """Decode and preprocess a file as the model wants it, uint8 (224, 224)."""
        return preprocessed(file, self.preprocessing_version)

    def require(self, index: int, probability: float, who: str) -> None:
        """Hold an answer to what the engine answers to this file.

        Raises:
            WrongAnswers: It is another.
        """
        if not abs(probability - self.probabilities[index]) <= self.tolerance:
            raise WrongAnswers(f"{who} answered {probability:.4f}, the engine {self.probabilities[index]:.4f}.")

    def __str__(self) -> str:
        """Say which model, and between which probabilities an answer can be wrong."""
        low, high = min(self.probabilities), max(self.probabilities)
        return f"{self.model}; probabilities {low:.3f} to {high:.3f}, checked to {self.tolerance:g}"


def service_engine(artifact: Artifact, batch_size: int = 1) -> Engine:
    """Load the engine as the service does by default. Peers serve it too, so that only the server differs."""
    return load_engine("openvino", artifact, precision="auto", batch_size=batch_size)


def preprocessed(file: bytes, version: int) -> np.ndarray:
    """Decode and preprocess a file, uint8 (224, 224)."""
    return to_square(decode(file).pixels, version=version)


def make_reference(model: Path, files: tuple[bytes, ...]) -> Reference:
    """Answer every file, one at a time.

    Raises:
        SystemExit: The model cannot be used.
    """
    try:
        artifact = open_artifact(model)
        engine = service_engine(artifact)
    except CxrError as error:
        raise SystemExit(str(error)) from error
    metadata = artifact.metadata
    squares = [preprocessed(file, metadata.preprocessing_version) for file in files]
    answers = [engine.infer(to_network_input(square[np.newaxis])).probabilities[0, POSITIVE] for square in squares]
    tolerance = metadata.tolerances.get(engine.precision, _TOLERANCE)
    return Reference(
        model=f"{metadata.name}/{metadata.version}, {engine.precision}",
        folder=artifact.path,
        precision=engine.precision,
        label=metadata.labels[POSITIVE],
        probabilities=tuple(map(float, answers)),
        tolerance=tolerance["probabilities"] if isinstance(tolerance, dict) else tolerance,
        preprocessing_version=metadata.preprocessing_version,
    )


def prepare(options: argparse.Namespace, conditions: str, *packages: str) -> tuple[Radiographs, Reference]:
    """Make the images and the reference that the options name, and print what is measured under which conditions."""
    end_in_order_when_terminated()
    images = make_radiographs(options.format, options.size)
    print(describe_machine("openvino", "fastapi", "uvicorn", "numpy", "pillow", *packages))
    reference = make_reference(options.model, images.files)
    print(f"{reference}\n{images.description}; {conditions}", flush=True)
    return images, reference
