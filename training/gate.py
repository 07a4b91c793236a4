"""Fit a model's input gate (``app.gate``) on its training and validation radiographs and on images made in code."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from app.artifact import GateCount, GateRecord
from app.errors import UnlikeTraining
from app.gate import NO_RADIOGRAPH, POSES, THUMBNAIL_SIDE, UPRIGHT, Floats, Gate, regressors, thumbnail, turned
from app.outputs import Infer
from training.not_radiographs import make_not_radiographs
from training.squares import infer_squares

LET_THROUGH: Final = 0.9925
"""Share of the validation radiographs that each limit lets through: a little more than the 99 % that are aimed at."""

_SEED: Final = 20201
_STRANGERS: Final = 2
"""Images made in code for each training radiograph, up to ``_MOST_STRANGERS``: 8,200 were refused no better."""
_MOST_STRANGERS: Final = 2200

_FEATURE_AXES: Final = 64
_THUMBNAIL_AXES: Final = 24
"""Principal axes; 8 to 128 of a thumbnail told strangers about equally well."""

_POSE_STRENGTH: Final = 30.0
_STRANGER_STRENGTH: Final = 100.0
"""Of the regressions' fit against their regularisation, over all images; ten times as much fits the strangers that are
made in code and not others."""

_LEAST_SPREAD: Final = 1e-3


def fit_gate(infer: Infer, train: NDArray[np.uint8], validation: NDArray[np.uint8]) -> Gate:
    """Fit a gate; the same images give the same gate.

    Args:
        infer: The exported network.
        train: Radiographs that it was trained on, upright, uint8 (N, 224, 224).
        validation: Others, on which the limits are chosen, uint8 (M, 224, 224).
    """
    count = min(_STRANGERS * len(train), _MOST_STRANGERS)
    strangers = make_not_radiographs(train, count, np.random.default_rng(_SEED))
    features, small = features_of(infer, train), _thumbnails(train)
    other_features, other_small = features_of(infer, strangers), _thumbnails(strangers)
    pose_weights, pose_biases = _fit_poses(small, other_small)
    feature_mean, feature_axes, feature_deviations = _fit_axes(features, _FEATURE_AXES)
    mirrored = np.concatenate([small, _posed(small, UPRIGHT, mirrored=True)])
    thumbnail_mean, thumbnail_axes, thumbnail_deviations = _fit_axes(mirrored, _THUMBNAIL_AXES)

    def given(of: Floats, looks: Floats) -> Floats:
        whitened = np.asarray((of - feature_mean) @ feature_axes.T / feature_deviations[:-1], np.float32)
        return regressors(whitened, looks)

    regression = LogisticRegression(C=_STRANGER_STRENGTH / (len(small) + count), max_iter=1000)
    regression.fit(
        np.concatenate([given(features, small), given(other_features, other_small)]),
        np.repeat([0, 1], [len(small), count]),
    )
    gate = Gate(
        pose_weights=pose_weights,
        pose_biases=pose_biases,
        surprise_limit=0,
        feature_mean=feature_mean,
        feature_axes=feature_axes,
        feature_deviations=feature_deviations,
        thumbnail_mean=thumbnail_mean,
        thumbnail_axes=thumbnail_axes,
        thumbnail_deviations=thumbnail_deviations,
        stranger_weights=regression.coef_[0].astype(np.float32),
        stranger_bias=float(np.float32(regression.intercept_[0])),
        typical=np.zeros(3, np.float32),
        spread=np.ones(3, np.float32),
        distance_limit=0,
    )
    return _with_limits(gate, _thumbnails(validation), features_of(infer, validation))


def gate_record(gate: Gate, infer: Infer, train: NDArray[np.uint8], parts: dict[str, NDArray[np.uint8]]) -> GateRecord:
    """Tell what a gate was fitted on and what it says of radiographs, upright and in other poses.

    Args:
        gate: As fitted.
        infer: The exported network.
        train: Radiographs that the gate was fitted on.
        parts: Squares of "validation" and "test", uint8 (N, 224, 224) each.
    """
    fitted_on = {
        "training radiographs": len(train),
        "images made in code": min(_STRANGERS * len(train), _MOST_STRANGERS),
        "validation radiographs, for the limits": len(parts["validation"]),
    }
    counts = {name: _count(gate, infer, squares) for name, squares in parts.items()}
    return GateRecord(
        fitted_on=fitted_on,
        let_through=LET_THROUGH,
        surprise_limit=gate.surprise_limit,
        distance_limit=gate.distance_limit,
        **counts,
    )


def features_of(infer: Infer, squares: NDArray[np.uint8]) -> Floats:
    """Return what the network makes of squares (N, 224, 224): features, float32 (N, D)."""
    return infer_squares(infer, squares).features


def _thumbnails(squares: NDArray[np.uint8]) -> Floats:
    return np.stack([thumbnail(square) for square in squares])


def in_pose(squares: NDArray[np.uint8], pose: int) -> NDArray[np.uint8]:
    """Turn, and invert, upright radiographs (N, S, S) into one of ``POSES``."""
    quarters, inverted = POSES[pose]
    turned = np.ascontiguousarray(np.rot90(squares, quarters, axes=(-2, -1)))
    return 255 - turned if inverted else turned


def find(gate: Gate, infer: Infer, squares: NDArray[np.uint8]) -> list[UnlikeTraining | None]:
    """Ask a gate about grey squares, uint8 (N, 224, 224); the network sees those alone whose features it looks at."""
    poses = [gate.pose(small) for small in _thumbnails(squares)]
    seen = np.array([pose == UPRIGHT or surprise > gate.surprise_limit for pose, surprise in poses])
    features = np.zeros((len(squares), len(gate.feature_mean)), np.float32)
    if seen.any():
        features[seen] = features_of(infer, squares[seen])
    return [gate.inspect(square, own, 0.0) for square, own in zip(squares, features, strict=True)]


def is_expected(finding: UnlikeTraining | None, pose: int) -> bool:
    """Say whether a gate said of a radiograph in a pose what it should: its advice would put it upright."""
    return str(finding) == str(None if pose == UPRIGHT else turned(*POSES[pose]))


def _count(gate: Gate, infer: Infer, squares: NDArray[np.uint8]) -> dict[str, GateCount]:
    kinds = {"upright": [0], "turned": [1, 2, 3], "inverted": [4], "inverted and turned": [5, 6, 7]}
    counts = {}
    for kind, poses in kinds.items():
        right = [is_expected(finding, pose) for pose in poses for finding in find(gate, infer, in_pose(squares, pose))]
        counts[kind] = GateCount(images=len(right), as_expected=sum(right))
    return counts


def _fit_poses(small: Floats, strangers: Floats) -> tuple[Floats, Floats]:
    """Fit the regression on poses; every other radiograph is mirrored, which makes it no less upright."""
    examples = [
        np.concatenate([_posed(small[::2], pose, mirrored=False), _posed(small[1::2], pose, mirrored=True)])
        for pose in range(len(POSES))
    ]
    classes = np.repeat(np.arange(NO_RADIOGRAPH + 1), [*[len(small)] * len(POSES), len(strangers)])
    regression = LogisticRegression(C=_POSE_STRENGTH / len(classes), max_iter=1000)
    regression.fit(np.concatenate([*examples, strangers]), classes)
    return regression.coef_.astype(np.float32), regression.intercept_.astype(np.float32)


def _posed(small: Floats, pose: int, *, mirrored: bool) -> Floats:
    """Turn thumbnails (N, 256), and invert them; as thumbnails of what was turned before would be."""
    quarters, inverted = POSES[pose]
    images = small.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    turned = np.rot90(images[..., ::-1] if mirrored else images, quarters, axes=(-2, -1)).reshape(len(small), -1)
    return -turned if inverted else turned


def _fit_axes(values: Floats, most: int) -> tuple[Floats, Floats, Floats]:
    """Fit mean, principal axes, and the standard deviations along them and across all others."""
    pca = PCA(min(most, min(values.shape) // 2), svd_solver="full").fit(values.astype(np.float64))
    floor = 1e-9 * (float(pca.explained_variance_.max()) or 1.0)
    across = max(float(pca.noise_variance_), floor)
    deviations = np.sqrt(np.append(np.maximum(pca.explained_variance_, across), across))
    return pca.mean_.astype(np.float32), pca.components_.astype(np.float32), deviations.astype(np.float32)


def _with_limits(gate: Gate, small: Floats, features: Floats) -> Gate:
    """Put the three witnesses on one scale and choose the limits, on validation."""
    said = np.stack([gate.witnesses(one, own) for one, own in zip(small, features, strict=True)])
    typical = np.median(said, axis=0)
    spread = np.maximum(np.quantile(said, 0.95, axis=0) - typical, _LEAST_SPREAD)
    gate = replace(gate, typical=typical.astype(np.float32), spread=spread.astype(np.float32))
    distances = [gate.distance(one, own) for one, own in zip(small, features, strict=True)]
    surprises = [gate.pose(one)[1] for pose in range(len(POSES)) for one in _posed(small, pose, mirrored=False)]
    return replace(
        gate,
        distance_limit=float(np.float32(np.quantile(distances, LET_THROUGH))),
        surprise_limit=float(np.float32(np.quantile(surprises, LET_THROUGH))),
    )
