"""The network as it is exported: a TensorFlow module with the signature of an artifact."""

import keras
import tensorflow as tf

from app.imaging import IMAGE_SIZE
from training.calibration import Calibration
from training.network import Network


def serving_module(model: keras.Model, calibration: Calibration) -> tf.Module:
    """Wrap a copy of a trained model as an artifact's SavedModel: ``tf.saved_model.save`` stores each variable once.

    Args:
        model: Of ``backbones.build_model``, with float32 weights, at 224 pixels, on the TensorFlow backend.
        calibration: Of its logits.

    Returns:
        A module whose function ``serve`` has the signature of an artifact. It owns its variables and not
        the Keras model, which would save each variable again, and its own functions with them.
    """
    module = tf.Module()
    network = Network(model, calibration)
    theirs = [variable for variable in model.variables if "seed_generator" not in variable.path]
    # A checkpoint lists the names of its variables, and those of Keras' layers take 1 % of a NASNetMobile's file.
    ours = [tf.Variable(variable.value, trainable=False, name=str(i)) for i, variable in enumerate(theirs)]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        values = [tf.convert_to_tensor(variable) for variable in ours]
        with keras.StatelessScope(state_mapping=zip(theirs, values, strict=True)):
            return network.outputs(image)

    module.network_variables = ours
    image = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.float32, name="image")
    module.serve = tf.function(serve, input_signature=[image])
    return module
