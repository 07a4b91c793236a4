"""An artifact whose graph is not the one that was exported fails its golden check, in either engine."""

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from app.artifact import GOLDEN, METADATA, Artifact, file_digests, open_artifact
from app.engines import EngineName, load_engine
from app.errors import ArtifactError
from app.imaging import to_network_input
from app.outputs import OUTPUT_NAMES, Golden, Outputs
from tests.training.fixtures import FinishedRun
from training.backbones import build_model
from training.calibration import Calibration
from training.fit import load_best
from training.graph import serving_module

ENGINES = pytest.mark.parametrize("engine", ["openvino", "tensorflow"])

pytestmark = pytest.mark.usefixtures("tiny_backbone")


def swap_labels(model: keras.Model) -> None:
    last = model.get_layer("probabilities")
    last.set_weights([weights[..., ::-1] for weights in last.get_weights()])


def divide_twice(model: keras.Model) -> None:
    model.get_layer("scaling").scale = 2.0 / 255


def perturb_one_layer(model: keras.Model) -> None:
    layer = model.get_layer("backbone").get_layer("conv_2")
    noise = np.random.default_rng(0).normal(1, 0.05, layer.kernel.shape)
    layer.kernel.assign(layer.kernel * noise)


def take_another_seed(model: keras.Model) -> None:
    keras.utils.set_random_seed(8)
    model.set_weights([weight.numpy() for weight in build_model_like(model).weights])


def forget_moving_statistics(model: keras.Model) -> None:
    layer = model.get_layer("backbone").get_layer("bn_2")
    layer.moving_mean.assign(layer.moving_mean * 0)


def build_model_like(model: keras.Model) -> keras.Model:
    from tests.training.tiny import CONFIG

    return build_model(CONFIG, model.input_shape[1])


def leave_alone(_: keras.Model) -> None:
    pass


def with_graph_of(finished: FinishedRun, change: Callable[[keras.Model], None], folder: Path) -> Artifact:
    """Copy the artifact, replace its graph by a changed model's, and make its checksums right again."""
    model = load_best(finished.run, finished.config)
    change(model)
    shutil.copytree(finished.artifact.path, folder)
    module = serving_module(model, Calibration.of(finished.artifact.metadata))
    shutil.rmtree(folder / "variables")
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    shutil.rmtree(folder / "assets")
    metadata = finished.artifact.metadata.model_copy(update={"files": file_digests(folder)})
    (folder / METADATA).write_text(metadata.model_dump_json())
    return open_artifact(folder)


@ENGINES
@pytest.mark.parametrize(
    "change", [swap_labels, divide_twice, perturb_one_layer, take_another_seed, forget_moving_statistics]
)
def test_another_graph_is_refused(
    change: Callable[[keras.Model], None], engine: EngineName, finished: FinishedRun, tmp_path: Path
) -> None:
    artifact = with_graph_of(finished, change, tmp_path / "1")
    with pytest.raises(ArtifactError, match=r"does not reproduce assets\.extra/golden\.npz"):
        load_engine(engine, artifact)


@ENGINES
def test_the_same_graph_exported_again_is_accepted(engine: EngineName, finished: FinishedRun, tmp_path: Path) -> None:
    load_engine(engine, with_graph_of(finished, leave_alone, tmp_path / "1"))


def test_weights_replaced_under_the_same_path_give_their_own_answers(finished: FinishedRun, tmp_path: Path) -> None:
    folder, cache_dir = tmp_path / "1", tmp_path / "cache"

    def answer(artifact: Artifact) -> Outputs:
        engine = load_engine("openvino", artifact, batch_size=2, cache_dir=cache_dir)
        assert "cached compilation" in engine.description
        return engine.infer(to_network_input(Golden.load(folder / GOLDEN).squares))

    before = answer(with_graph_of(finished, leave_alone, folder)).probabilities
    shutil.rmtree(folder)
    replaced = with_graph_of(finished, swap_labels, folder)
    expected = give_its_own_golden(replaced)
    assert np.abs(expected - before).max() > 0.5
    for _ in range(2):  # compiled, and found compiled
        np.testing.assert_allclose(answer(open_artifact(folder)).probabilities, expected, rtol=0, atol=1e-5)


def give_its_own_golden(artifact: Artifact) -> NDArray[np.float32]:
    """Make an artifact valid whose graph was changed; return the probabilities that TensorFlow computes of it."""
    squares = Golden.load(artifact.path / GOLDEN).squares
    result = tf.saved_model.load(str(artifact.path)).signatures["serving_default"](
        image=tf.constant(to_network_input(squares))
    )
    outputs = Outputs(*(result[name].numpy() for name in OUTPUT_NAMES))
    Golden(squares, outputs).save(artifact.path / GOLDEN)
    metadata = artifact.metadata.model_copy(update={"files": file_digests(artifact.path)})
    (artifact.path / METADATA).write_text(metadata.model_dump_json())
    return outputs.probabilities
