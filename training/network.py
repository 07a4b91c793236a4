"""What a trained network answers: probabilities, Grad-CAM and features in one forward pass, on any backend."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from app.artifact import POSITIVE
from training.calibration import Calibration


class Network:
    """The forward pass of a trained model, by the names of its layers."""

    def __init__(self, model: keras.Model, calibration: Calibration) -> None:
        """Take a model of ``backbones.build_model`` with float32 weights, and the calibration of its logits."""
        self._model, self._temperature = model, calibration.temperature
        self._biases = np.zeros(2, np.float32)
        self._biases[POSITIVE] = calibration.bias

    def outputs(self, image: Any) -> dict[str, Any]:
        """Compute the outputs of an artifact.

        Args:
            image: float32 (N, S, S, 3) in 0..1.

        Returns:
            Tensors of Keras' backend, float32: ``probabilities`` (N, 2), ``heatmap`` (N, h, w) in 0..1 (the Grad-CAM of
            the COVID-19 logit) and ``features`` (N, D).
        """
        maps = self._layer("backbone")(self._layer("scaling")(image), training=False)  # (N, h, w, D)
        features = ops.mean(maps, axis=(1, 2))  # (N, D)
        logits, gradient = self._head(features)
        return {
            "probabilities": ops.softmax(logits / self._temperature + self._biases),
            "heatmap": _grad_cam(maps, gradient),
            "features": features,
        }

    def _head(self, features: Any) -> tuple[Any, Any]:
        """Compute the logits, and the gradient of the COVID-19 logit with respect to the features.

        The head is three dense layers with ReLU and batch normalisation between them, so the gradient
        is a product of their matrices, masked where a ReLU is closed. Written with forward operations:
        the graph of a ``GradientTape`` does not convert to other engines.
        """
        hidden_1 = self._layer("head_dense_1")(self._layer("head_bn_1")(features, training=False))  # (N, 512)
        hidden_2 = self._layer("head_dense_2")(self._layer("head_bn_2")(hidden_1, training=False))  # (N, 256)
        last = self._layer("probabilities")
        logits = ops.matmul(self._layer("head_bn_3")(hidden_2, training=False), last.kernel) + last.bias
        gradient = last.kernel[:, POSITIVE] * self._slope("head_bn_3")  # (256,)
        gradient = _through_relu(gradient, hidden_2, self._layer("head_dense_2"))  # (N, 512)
        gradient = _through_relu(gradient * self._slope("head_bn_2"), hidden_1, self._layer("head_dense_1"))
        return logits, gradient * self._slope("head_bn_1")  # (N, D)

    def _slope(self, name: str) -> Any:
        """Return the factor by which a batch normalisation multiplies each feature at inference."""
        layer = self._layer(name)
        return layer.gamma * ops.rsqrt(layer.moving_variance + layer.epsilon)

    def _layer(self, name: str) -> keras.Layer:
        return self._model.get_layer(name)


def logits_of(model: keras.Model, images: NDArray[np.float32] | keras.utils.PyDataset) -> NDArray[np.float32]:
    """Compute a model's logits, which its softmax would saturate, as float32 (N, 2)."""
    last = model.get_layer("probabilities")
    hidden = keras.Model(model.input, last.input).predict(images, verbose=0)
    kernel, bias = last.get_weights()
    return np.asarray(hidden @ kernel + bias)


def _through_relu(gradient: Any, hidden: Any, dense: keras.Layer) -> Any:
    open_units = ops.cast(hidden > 0, "float32")
    return ops.matmul(gradient * open_units, ops.transpose(dense.kernel))


def _grad_cam(maps: Any, gradient: Any) -> Any:
    """Weigh the feature maps by the gradient, keep what speaks for COVID-19, scale each image's largest to 1.

    Source: Selvaraju et al., Grad-CAM (arXiv:1610.02391), eq. 1 and 2; behind global average pooling the
    gradient is the same at every position.
    """
    heat = ops.relu(ops.einsum("nhwd,nd->nhw", maps, gradient))
    return heat / ops.maximum(ops.max(heat, axis=(1, 2), keepdims=True), 1e-12)
