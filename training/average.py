"""Average a model's weights over its training steps."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

Weights = list[NDArray[np.float32]]


class WeightAverage(keras.callbacks.Callback):  # type: ignore[misc]
    """Keep an exponential moving average of all weights and validate with it.

    Batch normalisation's moving statistics are averaged like the rest, which Keras' own average leaves
    out. From the validation of an epoch until the next one begins the model holds the average, so that
    callbacks that save the model at the end of an epoch save the average; ``raw`` then has the weights
    that training goes on with.

    The average stays on the device and moves there, without waiting for the step: copying all weights to the host
    after each would hold an accelerator back.

    Source: the average of weights along the path of SGD, arXiv:1803.05407; decay by step with a ramp as
    in TensorFlow's ``ExponentialMovingAverage(num_updates)``.
    """

    def __init__(self, decay: float) -> None:
        """Set the decay a step, 0..1."""
        super().__init__()
        self.decay = decay
        self.steps = 0
        self.raw: Weights | None = None
        self._means: list[keras.Variable] = []
        self._restored: Weights | None = None

    @property
    def average(self) -> Weights:
        """The average, copied from the device."""
        return [np.array(mean.numpy()) for mean in self._means]

    def restore(self, average: Weights, steps: int) -> None:
        """Go on from an average after so many steps when training begins."""
        self._restored, self.steps = average, steps

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Start from the model's weights unless an average was restored."""
        values = self._restored or self.model.get_weights()
        self._means = [keras.Variable(value, dtype="float32", trainable=False) for value in values]
        self._move = _mover(self._means, self.model.weights)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Move the average towards the weights."""
        _ = self.model  # On JAX the weights are those of the step once a callback has asked for the model.
        self.steps += 1
        self._move(1 - min(self.decay, (1 + self.steps) / (10 + self.steps)))

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Put the average into the model."""
        if self.raw is None:
            self.raw = self.model.get_weights()
            self.model.set_weights(self.average)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Go on training with the weights that were set aside."""
        if self.raw is not None:
            self.model.set_weights(self.raw)
            self.raw = None


def _mover(means: Sequence[keras.Variable], weights: Sequence[keras.Variable]) -> Callable[[float], None]:
    """Compile what moves all means a share of the way towards the weights: in one call, not one a weight."""
    if keras.backend.backend() == "jax":
        import jax

        moved = jax.jit(
            lambda means, weights, share: [m + share * (w - m) for m, w in zip(means, weights, strict=True)],
            donate_argnums=0,
        )

        def move(share: float) -> None:
            values = moved([mean.value for mean in means], [weight.value for weight in weights], share)
            for mean, value in zip(means, values, strict=True):
                mean.assign(value)

        return move
    import tensorflow as tf

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def move_all(share: tf.Tensor) -> None:
        for mean, weight in zip(means, weights, strict=True):
            mean.assign(mean + share * (weight - mean))

    return lambda share: move_all(tf.constant(share, tf.float32))
