"""The registry of backbones, and the one head under which they are compared."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Literal

import h5py
import keras
import numpy as np
from keras.src.backend.config import keras_home

from app.errors import TrainingError
from app.imaging import IMAGE_SIZE
from training.config import DEFAULT_EXECUTION, BackboneName, Execution, FitConfig, Head, Precision
from training.efficientnet_lite import WEIGHTS_SOURCE, efficientnet_lite0
from training.manifest import LABELS


@dataclass(frozen=True, slots=True)
class Backbone:
    """A convolutional network without its top.

    Attributes:
        application: The Keras function that builds it.
        scaling: "tf" (-1..1), "lite" (-127/128..1) or "caffe" (BGR, ImageNet mean subtracted, 0..255): what its
            ImageNet weights want.
        imagenet_file: Name of the weights file that Keras downloads; "" where they come otherwise.
        imagenet_source: Where its ImageNet weights come from, in words.
    """

    application: Callable[..., keras.Model]
    scaling: str
    imagenet_file: str = ""
    imagenet_source: str = "Keras Applications"


BACKBONES: Final[dict[BackboneName, Backbone]] = {
    "VGG16": Backbone(keras.applications.VGG16, "caffe", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "ResNet50": Backbone(keras.applications.ResNet50, "caffe", "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "NASNetLarge": Backbone(keras.applications.NASNetLarge, "tf", "nasnet_large_no_top.h5"),
    "NASNetMobile": Backbone(keras.applications.NASNetMobile, "tf", "nasnet_mobile_no_top.h5"),
    "EfficientNetLite0": Backbone(efficientnet_lite0, "lite", imagenet_source=WEIGHTS_SOURCE),
}

_DOWNLOAD_FAILURES: Final = ("URL fetch failure", "Incomplete or corrupted file")
"""How the messages begin by which ``keras.utils.get_file`` reports a failed download."""

# Means of the ImageNet training set in RGB. Source: keras.applications.imagenet_utils, mode "caffe".
_IMAGENET_MEAN_RGB: Final = (123.68, 116.779, 103.939)


def build_model(
    config: FitConfig,
    image_size: int = IMAGE_SIZE,
    *,
    weights: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
) -> keras.Model:
    """Build a backbone under the head: image 0..1 in, class probabilities out.

    Args:
        config: Which backbone, its weights, its scaling, and the head.
        image_size: Side of the input in pixels.
        weights: Overrides ``config.weights``.
        execution: The precision of the layers; their weights are float32 in each.

    Returns:
        A model from float32 (N, S, S, 3) in 0..1 to float32 (N, 2) in the order of ``LABELS`` (float16 with a
        float16 softmax), with the layers "scaling" (which covers the corners, if asked), "backbone", "features"
        (global average pooling) and the head's after them.

    Raises:
        TrainingError: The weights cannot be had or do not fit.
    """
    with _dtype_policy(execution.precision):
        backbone = _build_backbone(config, image_size, config.weights if weights is None else weights)
        image = keras.Input((image_size, image_size, 3), name="image")
        kind = BACKBONES[config.backbone].scaling if config.scaling == "native" else config.scaling
        scaling = _scaling(kind)
        if config.cover_corners:
            scaling = _behind_covered_corners(scaling, image_size)
        features = keras.layers.GlobalAveragePooling2D(name="features")(backbone(scaling(image)))
        softmax = None if execution.float16_softmax else "float32"  # None: the policy just set.
        return keras.Model(image, _head(features, config.head, softmax), name=config.backbone.lower())


def unfreeze(backbone: keras.Model, layers: int | Literal["all"]) -> None:
    """Let the last layers of a backbone learn, and freeze the others.

    Args:
        backbone: Of ``build_model``.
        layers: How many, save batch normalisation, which then works with its moving statistics and leaves them
            as they are, also in training; "all": every layer, batch normalisation included.
    """
    backbone.trainable = True
    frozen = 0 if layers == "all" else max(len(backbone.layers) - layers, 0)
    for index, layer in enumerate(backbone.layers):
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layers == "all" or (index >= frozen and not normalises)


@contextmanager
def _dtype_policy(precision: Precision) -> Iterator[None]:
    """Build layers under a precision: Keras' applications take it from the global policy alone."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _build_backbone(config: FitConfig, image_size: int, weights: str) -> keras.Model:
    entry = BACKBONES[config.backbone]
    arguments: dict[str, Any] = {"include_top": False, "input_shape": (image_size, image_size, 3), "name": "backbone"}
    if weights == "imagenet":
        backbone = _with_imagenet_weights(entry, arguments)
    else:
        backbone = entry.application(weights=None, **arguments)
        if weights != "random":
            _load_weights(backbone, Path(weights))
    for layer in backbone.layers:
        if config.batch_norm_momentum and isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.batch_norm_momentum
    return backbone


def _with_imagenet_weights(entry: Backbone, arguments: dict[str, Any]) -> keras.Model:
    try:
        return entry.application(weights="imagenet", **arguments)
    except Exception as error:  # Keras raises a bare Exception when a download fails.
        if not str(error).startswith(_DOWNLOAD_FAILURES):
            raise
        raise TrainingError(
            f"The ImageNet weights could not be downloaded ({error}). On a machine with a network, download that "
            f"address and put it here as {_keras_models_folder() / entry.imagenet_file}, or pass --weights FILE; "
            "--weights random trains from scratch."
        ) from error


def _keras_models_folder() -> Path:
    """Find where Keras looks for its applications' weights, as ``keras.utils.get_file`` does."""
    home = Path(keras_home()).expanduser()
    return (home if os.access(home, os.W_OK) else Path("/tmp/.keras")) / "models"  # noqa: S108


def _load_weights(backbone: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise TrainingError(
            f"There is no weights file {path}. Give 'imagenet', 'random' or a .h5 file for {backbone.name}."
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # Of what the error then says.
            backbone.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise TrainingError(f"{path} does not fit the backbone: {_explain(error, backbone, path)}") from error


def _explain(error: Exception, backbone: keras.Model, path: Path) -> str:
    """Shorten Keras' message to the first layer that differs, and name that layer where Keras does not."""
    message = " ".join(str(error).split(" Target variable:")[0].split("List of objects")[0].split())
    if "Layer count mismatch" not in message:
        return message
    with h5py.File(path) as file:
        saved = [str(name) for name in file.attrs.get("layer_names", ()) if len(file[name].attrs["weight_names"])]
    ours = [layer.name for layer in backbone.layers if layer.weights]
    first = next((pair for pair in zip_longest(ours, saved) if pair[0] != pair[1]), None)
    return (
        f"{message} The first that differs is {first[0]} in the backbone, {first[1]} in the file." if first else message
    )


def _scaling(kind: str) -> keras.Layer:
    """Make the layer "scaling", in float32 whatever the precision: bfloat16 merges neighbouring grey levels."""
    if kind == "none":
        return keras.layers.Identity(name="scaling", dtype="float32")
    if kind == "second_division":
        return keras.layers.Rescaling(1 / 255, name="scaling", dtype="float32")
    if kind == "tf":
        return keras.layers.Rescaling(2.0, -1.0, name="scaling", dtype="float32")
    if kind == "lite":  # Mean 127 and deviation 128, as its training had.
        return keras.layers.Rescaling(255 / 128, -127 / 128, name="scaling", dtype="float32")
    image = keras.Input((None, None, 3))
    centred = keras.layers.Rescaling(255.0, [-mean for mean in _IMAGENET_MEAN_RGB], dtype="float32")(image)
    return keras.Model(image, keras.ops.flip(centred, axis=-1), name="scaling")  # RGB to BGR


def _behind_covered_corners(scaling: keras.Layer, image_size: int) -> keras.Model:
    """Give every image the mean of what is inside the inscribed circle outside of it, before it is scaled."""
    from_middle = (np.arange(image_size) + 0.5) / image_size - 0.5
    inside = (np.hypot(from_middle[:, np.newaxis], from_middle) <= 0.5).astype(np.float32)[..., np.newaxis]  # (S, S, 1)
    image = keras.Input((image_size, image_size, 3), dtype="float32")
    mean = keras.ops.sum(image * inside, axis=(1, 2), keepdims=True) / inside.sum()  # (N, 1, 1, 3)
    return keras.Model(image, scaling(image * inside + mean * (1 - inside)), name=scaling.name)


def _head(features: Any, head: Head, softmax: str | None) -> Any:
    layers, momentum = keras.layers, head.batch_norm_momentum
    x = layers.BatchNormalization(momentum=momentum, name="head_bn_1")(features)
    penalty = keras.regularizers.L1L2(head.l1, head.l2)
    x = layers.Dense(head.units[0], activation="relu", kernel_regularizer=penalty, name="head_dense_1")(x)
    x = layers.BatchNormalization(momentum=momentum, name="head_bn_2")(x)
    x = layers.Dropout(head.dropout, name="head_dropout")(x)
    x = layers.Dense(head.units[1], activation="relu", name="head_dense_2")(x)
    x = layers.BatchNormalization(momentum=momentum, name="head_bn_3")(x)
    return layers.Dense(len(LABELS), activation="softmax", dtype=softmax, name="probabilities")(x)
