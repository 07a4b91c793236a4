from pathlib import Path
from typing import Final

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tests.training.tiny import CONFIG
from training.backbones import build_model
from training.calibration import Calibration
from training.graph import serving_module
from training.manifest import POSITIVE
from training.network import logits_of

NONE: Final = Calibration()


@pytest.fixture
def model(tiny_backbone: None) -> keras.Model:
    """Random weights everywhere, moving statistics and biases included."""
    keras.utils.set_random_seed(0)
    model = build_model(CONFIG)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            noise = rng.normal(0, 0.1, variable.shape)
            variable.assign(np.abs(variable + noise) if "variance" in variable.path else variable + noise)
    return model


@pytest.fixture
def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).random((4, 224, 224, 3), np.float32)


def serve(
    model: keras.Model, images: NDArray[np.float32], calibration: Calibration = NONE
) -> dict[str, NDArray[np.float32]]:
    outputs = serving_module(model, calibration).serve(tf.constant(images))
    return {name: value.numpy() for name, value in outputs.items()}


def test_probabilities_are_the_models_without_calibration(model: keras.Model, images: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(serve(model, images)["probabilities"], np.asarray(model(images)), atol=1e-6)


@pytest.mark.parametrize("calibration", [Calibration(0.5), Calibration(2.5), Calibration(2.5, -1.5)])
def test_the_calibration_is_in_the_graph(
    calibration: Calibration, model: keras.Model, images: NDArray[np.float32]
) -> None:
    logits = logits_of(model, images)
    np.testing.assert_allclose(np.asarray(tf.nn.softmax(logits)), np.asarray(model(images)), atol=1e-6)
    expected = np.asarray(tf.nn.softmax(logits / calibration.temperature + [0, calibration.bias]))
    np.testing.assert_allclose(serve(model, images, calibration)["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(calibration.probabilities(logits), expected[:, POSITIVE], atol=1e-6)


def test_what_is_covered_changes_no_output(images: NDArray[np.float32], tiny_backbone: None) -> None:
    model = build_model(CONFIG.model_copy(update={"cover_corners": True}))
    marked, darkened = images.copy(), images.copy()
    marked[:, :24, :24] = 1  # A letter in the corner.
    darkened[:, 100:124, 100:124] = 0
    outputs, same, others = (serve(model, given) for given in (images, marked, darkened))
    for name, output in outputs.items():
        np.testing.assert_array_equal(same[name], output)
    assert np.abs(others["features"] - outputs["features"]).max() > 1e-4


def test_features_are_the_global_average(model: keras.Model, images: NDArray[np.float32]) -> None:
    expected = keras.Model(model.input, model.get_layer("features").output)(images)
    np.testing.assert_allclose(serve(model, images)["features"], np.asarray(expected), atol=1e-5)


def test_the_heatmap_is_grad_cam(model: keras.Model, images: NDArray[np.float32]) -> None:
    """By the definition: weights are the mean gradient of the COVID-19 logit over the last feature maps."""
    maps = model.get_layer("backbone")(model.get_layer("scaling")(images), training=False)
    head = model.layers[model.layers.index(model.get_layer("features")) :]
    with tf.GradientTape() as tape:
        tape.watch(maps)
        hidden = maps
        for layer in head[:-1]:
            hidden = layer(hidden, training=False)
        logits = hidden @ head[-1].kernel + head[-1].bias
        logit = logits[:, POSITIVE]
    weights = tf.reduce_mean(tape.gradient(logit, maps), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))
    expected = (heat / tf.reduce_max(heat, axis=(1, 2), keepdims=True)).numpy()
    heatmap = serve(model, images)["heatmap"]
    assert heatmap.shape == (4, 14, 14)
    assert heatmap.max(axis=(1, 2)).tolist() == pytest.approx([1, 1, 1, 1])
    np.testing.assert_allclose(heatmap, expected, atol=1e-5)


def test_a_heatmap_without_evidence_is_zero(model: keras.Model, images: NDArray[np.float32]) -> None:
    last = model.get_layer("probabilities")
    last.set_weights([np.zeros((256, 2)), np.zeros(2)])
    assert not serve(model, images)["heatmap"].any()


def longest_name(saved_model: Path) -> int:
    """Length of a variable's name in a checkpoint; hundreds of layers with names of their own take 1 % of it."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    checkpoint = tf.train.load_checkpoint(str(saved_model / "variables/variables"))
    graph.ParseFromString(checkpoint.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    return max(len(attribute.full_name) for node in graph.nodes for attribute in node.attributes)


def test_the_saved_model_has_weights_of_its_own(model: keras.Model, images: NDArray[np.float32]) -> None:
    module = serving_module(model, NONE)
    before = module.serve(tf.constant(images))["features"].numpy()
    for variable in model.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    assert before.any()
    np.testing.assert_array_equal(module.serve(tf.constant(images))["features"], before)


def test_the_saved_model_stores_each_variable_once(model: keras.Model, tmp_path: Path) -> None:
    module = serving_module(model, NONE)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    stored = (tmp_path / "variables/variables.data-00000-of-00001").stat().st_size
    assert 1 <= stored / (4 * model.count_params()) <= 1.01
    assert longest_name(tmp_path) <= len(str(model.count_params()))
    assert (tmp_path / "saved_model.pb").stat().st_size < 4 * model.count_params() / 2  # No weights in the graph.


def test_the_signature_has_names_shapes_and_types(model: keras.Model, tmp_path: Path) -> None:
    module = serving_module(model, NONE)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    signature = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    assert signature.structured_input_signature[1] == {
        "image": tf.TensorSpec((None, 224, 224, 3), tf.float32, name="image")
    }
    outputs = {name: (tuple(spec.shape), spec.dtype) for name, spec in signature.structured_outputs.items()}
    assert outputs == {
        "probabilities": ((None, 2), tf.float32),
        "heatmap": ((None, 14, 14), tf.float32),
        "features": ((None, 16), tf.float32),
    }
