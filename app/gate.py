"""The input gate: whether an image is what the model was trained on, an upright frontal chest radiograph.

Fitted when a model is exported (``training.gate``), stored beside it, and asked about every image that the network has
seen, from what costs next to nothing:

- the decoded image: whether it is of one grey level, and how much of it is coloured;
- a thumbnail of 16 x 16 pixels, without brightness and contrast of its own: a logistic regression tells radiographs in
  eight poses (turned by quarters, upright or inverted) from what is none;
- thumbnail and features together: a distance, in which three things are added up. A second regression says how little
  the image looks like a radiograph; and how far features and thumbnail are from those of the training radiographs.

Source of the last two: Mahalanobis under probabilistic PCA (Tipping and Bishop, 1999), which is what a covariance
matrix gives whose small eigenvalues are replaced by their mean.
"""

import hashlib
import io
from dataclasses import dataclass, fields
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.artifact import GATE, GOLDEN, Artifact
from app.errors import (
    ArtifactError,
    BlankImage,
    ColourImage,
    InvertedImage,
    NotAChestRadiograph,
    RotatedImage,
    UnlikeTraining,
)
from app.imaging import IMAGE_SIZE
from app.outputs import Golden

Floats = NDArray[np.float32]

THUMBNAIL_SIDE: Final = 16
"""Pixels. Poses were told as well from 16 x 16 as from 32 x 32, with a quarter of the weights."""

POSES: Final = tuple((quarters, inverted) for inverted in (False, True) for quarters in range(4))
"""Quarters by which a radiograph is turned counterclockwise, and whether its grey levels are inverted."""
UPRIGHT: Final = 0
"""Index in ``POSES``."""
NO_RADIOGRAPH: Final = len(POSES)
"""Class of the regression after those of ``POSES``."""

WITNESS_WEIGHTS: Final = (2 / 3, 1 / 6, 1 / 6)
"""Of regression, features and thumbnail in the distance: the regression alone let twice as many strangers through."""

LEAST_CONTRAST: Final = 4.0
"""Standard deviation of the square's grey levels. The least of 1,684 radiographs is 14.6."""
MOST_COLOURED: Final = 0.2
"""Share of the pixels: marks and letters have a few hundredths."""

_STEP: Final = 4
"""Of the pixels that contrast is measured on."""
_FARTHEST: Final = 10.0
"""Standard deviations along an axis of the features, beyond which the regression sees no farther."""

_BACK: Final = {1: "by 90 degrees clockwise", 2: "by 180 degrees", 3: "by 90 degrees counterclockwise"}
_WANTED: Final = "Send an upright frontal chest radiograph."


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """What was fitted. D is the number of features, K and L of axes, 256 of a thumbnail's pixels.

    Attributes:
        pose_weights: Of the regression on thumbnails, float32 (9, 256), in the order of ``POSES``, ``NO_RADIOGRAPH``.
        pose_biases: Of the same, float32 (9,).
        surprise_limit: Largest ``surprise`` of a radiograph.
        feature_mean: Of training radiographs, float32 (D,).
        feature_axes: Their principal axes, float32 (K, D).
        feature_deviations: Standard deviations along these, and across all others, float32 (K + 1,).
        thumbnail_mean: As above, float32 (256,).
        thumbnail_axes: As above, float32 (L, 256).
        thumbnail_deviations: As above, float32 (L + 1,).
        stranger_weights: Of the regression on whitened features and thumbnail, float32 (K + 256,).
        stranger_bias: Of the same.
        typical: What each of the three witnesses says of a typical radiograph, float32 (3,).
        spread: How much more it says of the farthest twentieth, float32 (3,).
        distance_limit: Largest ``distance`` of a radiograph.
    """

    pose_weights: Floats
    pose_biases: Floats
    surprise_limit: float
    feature_mean: Floats
    feature_axes: Floats
    feature_deviations: Floats
    thumbnail_mean: Floats
    thumbnail_axes: Floats
    thumbnail_deviations: Floats
    stranger_weights: Floats
    stranger_bias: float
    typical: Floats
    spread: Floats
    distance_limit: float

    def inspect(self, square: NDArray[np.uint8], features: Floats, coloured: float) -> UnlikeTraining | None:
        """Find the reason why an image is not what the model was trained on.

        A coloured image is never called a turned radiograph: of photographs one in five could be taken for one.

        Args:
            square: What the network saw, uint8 (224, 224).
            features: What it made of it, float32 (D,).
            coloured: Share of the pixels that are coloured, 0..1.

        Returns:
            What was found and what to do, as the error to refuse it with; None where it is as it should be.
        """
        if square[::_STEP, ::_STEP].std(dtype=np.float32) < LEAST_CONTRAST:
            return BlankImage(f"The image is nearly of one grey level: it shows nothing. {_WANTED}")
        small = thumbnail(square)
        pose, surprise = self.pose(small)
        is_coloured = coloured > MOST_COLOURED
        if pose != UPRIGHT and surprise <= self.surprise_limit and not is_coloured:
            return turned(*POSES[pose])
        distance = self.distance(small, features)
        if distance > self.distance_limit:
            return _stranger(distance, self.distance_limit)
        if is_coloured:
            return ColourImage(
                f"{coloured:.0%} of the image is coloured; radiographs are grey. Send the radiograph itself, without a "
                "map of colours over it."
            )
        return None

    def pose(self, small: Floats) -> tuple[int, float]:
        """Tell the pose of what may be a radiograph.

        Args:
            small: A thumbnail, float32 (256,).

        Returns:
            Index in ``POSES`` of the likeliest, and how surprising it would be that the image is a radiograph in
            that pose: minus the logarithm of its probability against being none, 0 or more.
        """
        logits = self.pose_weights @ small + self.pose_biases
        pose = int(logits[:NO_RADIOGRAPH].argmax())
        return pose, float(np.logaddexp(0, logits[NO_RADIOGRAPH] - logits[pose]))

    def distance(self, small: Floats, features: Floats) -> float:
        """Measure how far an image is from upright training radiographs: 0 for a typical one, 1 for the farthest."""
        said = (self.witnesses(small, features) - self.typical) / self.spread
        return float(said @ np.array(WITNESS_WEIGHTS, np.float32))

    def witnesses(self, small: Floats, features: Floats) -> Floats:
        """Ask the three witnesses of a distance.

        Args:
            small: A thumbnail, float32 (256,).
            features: Of the same image, float32 (D,).

        Returns:
            float32 (3,): logarithm of the odds that it is no radiograph, logarithm of the distance of its features,
            distance of its thumbnail.
        """
        whitened, far = _whiten(features, self.feature_mean, self.feature_axes, self.feature_deviations)
        _, other = _whiten(small, self.thumbnail_mean, self.thumbnail_axes, self.thumbnail_deviations)
        odds = self.stranger_weights @ regressors(whitened, small) + self.stranger_bias
        return np.array([odds, np.log(far + 1e-6), other], np.float32)

    def to_bytes(self) -> bytes:
        """Write it as an ``.npz`` file."""
        file = io.BytesIO()
        np.savez_compressed(file, **{field.name: getattr(self, field.name) for field in fields(self)})
        return file.getvalue()

    @classmethod
    def load(cls, artifact: Artifact) -> "Gate | None":
        """Read the gate of a model; None where it has none. Pickled objects are refused.

        Raises:
            ArtifactError: It is damaged, or does not fit the model.
        """
        if artifact.metadata.gate is None:
            return None
        path = artifact.path / GATE
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != artifact.metadata.files.get(GATE):
                raise ValueError("it is not the one that was exported")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                values: dict[str, Any] = {field.name: _read(arrays[field.name]) for field in fields(cls)}
            return cls(**values)._checked(Golden.load(artifact.path / GOLDEN).outputs.features.shape[1])
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise ArtifactError(
                f"{path} cannot be read as an input gate ({error}). Export the model again, or set CXR_INPUT_GATE=off "
                "to serve it without."
            ) from error

    def _checked(self, dimensions: int) -> "Gate":
        """Check that all arrays fit each other and features of so many dimensions."""
        pixels, axes, others = THUMBNAIL_SIDE**2, len(self.feature_axes), len(self.thumbnail_axes)
        expected = {
            "pose_weights": (len(POSES) + 1, pixels),
            "pose_biases": (len(POSES) + 1,),
            "feature_mean": (dimensions,),
            "feature_axes": (axes, dimensions),
            "feature_deviations": (axes + 1,),
            "thumbnail_mean": (pixels,),
            "thumbnail_axes": (others, pixels),
            "thumbnail_deviations": (others + 1,),
            "stranger_weights": (axes + pixels,),
            "typical": (len(WITNESS_WEIGHTS),),
            "spread": (len(WITNESS_WEIGHTS),),
        }
        for field in fields(self):
            shape, found = expected.get(field.name, ()), np.shape(getattr(self, field.name))
            if found != shape:
                raise ValueError(f"{field.name} has the shape {found}, not {shape}")
        return self


def thumbnail(square: NDArray[np.uint8]) -> Floats:
    """Reduce a square to a thumbnail without brightness and contrast of its own.

    Args:
        square: Grey levels, uint8 (224, 224).

    Returns:
        float32 (256,), of mean 0 and standard deviation 1, or zeros.
    """
    small = np.asarray(Image.fromarray(square).reduce(IMAGE_SIZE // THUMBNAIL_SIDE), np.float32).reshape(-1)
    small = small - small.mean()
    deviation = small.std() or np.float32(1)
    return np.asarray(small / deviation, np.float32)


def regressors(whitened: Floats, small: Floats) -> Floats:
    """Put together what the regression on strangers is given: whitened features (..., K) and thumbnail (..., 256)."""
    joined: Floats = np.concatenate([np.clip(whitened, -_FARTHEST, _FARTHEST), small], axis=-1)
    return joined


def _whiten(values: Floats, mean: Floats, axes: Floats, deviations: Floats) -> tuple[Floats, float]:
    """Return coordinates along principal axes in standard deviations, and the distance by all: most have about 1."""
    centred: Floats = values - mean
    along: Floats = axes @ centred
    across = max(float(centred @ centred - along @ along), 0.0)
    whitened: Floats = np.asarray(along / deviations[:-1], np.float32)
    return whitened, float(np.sqrt((whitened @ whitened + across / deviations[-1] ** 2) / len(values)))


def _stranger(distance: float, limit: float) -> NotAChestRadiograph:
    return NotAChestRadiograph(
        f"The image is unlike the frontal chest radiographs that the model was trained on: its distance from them is "
        f"{distance:.2f}, the limit {limit:.2f}. {_WANTED}",
        distance=round(distance, 4),
        limit=round(limit, 4),
    )


def turned(quarters: int, inverted: bool) -> InvertedImage | RotatedImage:
    """Name the pose of a radiograph; of an inverted one that is turned too, both."""
    if not inverted:
        return RotatedImage(f"The radiograph is turned: turn it {_BACK[quarters]} and send it again.")
    turn = f", turn it {_BACK[quarters]}," if quarters else ""
    return InvertedImage(
        f"The grey levels are inverted: bones must be white. Invert the image{turn} and send it again; in DICOM check "
        "Photometric Interpretation (0028,0004)."
    )


def _read(array: NDArray[np.float32]) -> Floats | float:
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError("it holds what are no finite numbers")
    return array if array.ndim else float(array)
