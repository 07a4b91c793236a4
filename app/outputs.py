"""What a network answers for a batch of images, and what a faithful one must answer for synthetic ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from app.errors import ArtifactError
from app.imaging import to_network_input


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What the network answers for a batch of N images.

    Attributes:
        probabilities: float32 (N, 2), in the order of the labels, calibrated; rows sum to 1.
        heatmap: float32 (N, h, w) in 0..1, Grad-CAM of the COVID-19 logit, each image's largest value 1.
        features: float32 (N, D), pooled features of the backbone.
    """

    probabilities: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    features: NDArray[np.float32]

    @classmethod
    def concatenate(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Put the outputs of consecutive images together."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in OUTPUT_NAMES))

    def only(self, index: int) -> "Outputs":
        """Take the outputs of one image, with N = 1."""
        return Outputs(*(getattr(self, name)[index : index + 1] for name in OUTPUT_NAMES))


OUTPUT_NAMES: Final = tuple(field.name for field in fields(Outputs))
"""Of the signature ``serving_default``."""

Infer = Callable[[NDArray[np.float32]], Outputs]
"""Network input float32 (N, 224, 224, 3) in 0..1 to outputs."""


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Synthetic inputs and the outputs that a faithful engine must reproduce.

    Attributes:
        squares: Grey levels, uint8, shape (G, 224, 224).
        outputs: For these squares, float32.
    """

    squares: NDArray[np.uint8]
    outputs: Outputs

    def largest_difference(self, infer: Infer, batch_size: int = 1) -> dict[str, float]:
        """Run the inputs in batches of a size, repeated where they do not fill one, and compare.

        Returns:
            The largest absolute difference of each output; that of ``features`` is relative to the
            largest golden feature, since features have no fixed range.
        """
        count = len(self.squares)
        filled = self.squares[np.arange(-(-count // batch_size) * batch_size) % count]
        batches = [filled[start : start + batch_size] for start in range(0, len(filled), batch_size)]
        outputs = Outputs.concatenate([infer(to_network_input(batch)) for batch in batches])
        differences = {}
        for name in OUTPUT_NAMES:
            expected, received = getattr(self.outputs, name), getattr(outputs, name)[:count]
            if received.shape != expected.shape:
                raise ArtifactError(f"Output {name!r} has shape {received.shape}, golden {expected.shape}.")
            scale = float(np.abs(expected).max()) or 1.0 if name == "features" else 1.0
            difference = np.abs(received.astype(np.float64) - expected).max() / scale
            differences[name] = float(np.inf if np.isnan(difference) else difference)
        return differences

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file."""
        np.savez_compressed(
            path,
            squares=self.squares,
            probabilities=self.outputs.probabilities,
            heatmap=self.outputs.heatmap,
            features=self.outputs.features,
        )

    @classmethod
    def load(cls, path: Path) -> "Golden":
        """Read from an ``.npz`` file; pickled objects are refused.

        Raises:
            ArtifactError: Missing, or not such a file.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                outputs = Outputs(arrays["probabilities"], arrays["heatmap"], arrays["features"])
                return cls(arrays["squares"], outputs)
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise ArtifactError(
                f"{path} cannot be read as golden outputs ({error}). Export the model again."
            ) from error
