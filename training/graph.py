"""The network as it is exported: a TensorFlow module with the signature of an artifact."""

import keras
import tensorflow as tf

from app.imaging import IMAGE_SIZE
from training.network import Network


def serving_module(model: keras.Model, temperature: float) -> tf.Module:
    """Wrap a trained model as an artifact's SavedModel: ``tf.saved_model.save`` stores each variable once.

    Args:
        model: Of ``backbones.build_model``, with float32 weights, at 224 pixels, on the TensorFlow backend.
        temperature: Divides the logits.

    Returns:
        A module whose function ``serve`` has the signature of an artifact. It owns the variables and not
        the Keras model, which would save each variable again, and its own functions with them.
    """
    module = tf.Module()
    module.network_variables = [v.value for v in model.variables if "seed_generator" not in v.path]
    image = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.float32, name="image")
    module.serve = tf.function(Network(model, temperature).outputs, input_signature=[image])
    return module
