"""Keras = SavedModel in TensorFlow = OpenVINO in float32 = the answer over HTTP, from file to probability."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from app.artifact import Artifact
from app.engines import Engine, EngineName, load_engine
from app.imaging import to_network_input, to_square
from app.imaging.decode import decode
from app.outputs import Outputs
from tests.app.server import Server
from tests.contract.keras_answers import keras_answers
from tests.images import dicom, encode, radiograph
from tests.training.fixtures import FinishedRun
from tests.training.folders import write_files
from tests.training.tiny import image_of
from training.backbones import BACKBONES
from training.manifest import POSITIVE, Manifest, read_manifest
from training.squares import load_squares

TOLERANCE: Final = 1e-5
"""Absolute, of probabilities and heatmaps; features relative to their largest. Measured: 1.4e-7, heatmaps 2.1e-6."""

HEATMAP_DIGITS: Final = 4
"""To which the HTTP answer rounds."""


def blend(share: float) -> NDArray[np.uint8]:
    """Mix the textures of the two classes, so that the answers are not all certain."""
    return np.rint((1 - share) * image_of(0, 100) + share * image_of(1, 100)).astype(np.uint8)


FILES: Final = {
    **{f"0/blend-{share}.png": encode(blend(share / 10), "PNG") for share in range(0, 11, 2)},
    "0/radiograph.jpg": encode(radiograph(300, 260, seed=1), "JPEG"),
    "1/deep.png": encode(radiograph(seed=2).astype(np.uint16) * 200, "PNG"),
    "1/film.dcm": dicom(radiograph(seed=3), photometric_interpretation="MONOCHROME1"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(write_files(tmp_path_factory.mktemp("images"), FILES))


@pytest.fixture(scope="module")
def squares(images: Manifest) -> NDArray[np.uint8]:
    """As training sees the files."""
    return load_squares(images.root, images.records, preprocessing=1)


@pytest.fixture(scope="module")
def keras_probabilities(
    finished: FinishedRun, squares: NDArray[np.uint8], module_patch: pytest.MonkeyPatch
) -> NDArray[np.float64]:
    """Those of the trained model as calibrated; they answer both classes."""
    probabilities = keras_answers(finished.run, finished.config, finished.artifact.metadata, squares)
    positive = probabilities[:, POSITIVE]
    assert ((positive > 0.05) & (positive < 0.95)).sum() >= 5, positive
    assert np.ptp(positive) > 0.7, positive
    return probabilities


@pytest.fixture(scope="module")
def module_patch() -> Iterator[pytest.MonkeyPatch]:
    from tests.training.tiny import TINY

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "NASNetMobile", TINY)
        yield patch


@pytest.fixture(scope="module")
def reference(finished: FinishedRun, squares: NDArray[np.uint8]) -> Outputs:
    """What TensorFlow answers for the whole batch."""
    return load_engine("tensorflow", finished.artifact).infer(to_network_input(squares))


@pytest.fixture(scope="module")
def answers(finished: FinishedRun, images: Manifest, cache_dir: Path) -> dict[str, dict[str, Any]]:
    """What the service answers for each file."""
    with Server(model=finished.artifact.path, cache_dir=cache_dir) as server:
        responses = {
            record.path: server.client.post("/predict?explain=true", content=FILES[record.path])
            for record in images.records
        }
    return {path: response.raise_for_status().json() for path, response in responses.items()}


def engine_of(name: EngineName, artifact: Artifact) -> Engine:
    """Load an engine that computes nine files in two batches and one image alone."""
    engine = load_engine(name, artifact, batch_size=4)
    assert engine.precision == "f32"
    return engine


def assert_close(ours: Outputs, theirs: Outputs) -> None:
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ours.heatmap, theirs.heatmap, rtol=0, atol=TOLERANCE)
    scale = float(np.abs(theirs.features).max())
    np.testing.assert_allclose(ours.features, theirs.features, rtol=0, atol=TOLERANCE * scale)


def test_training_and_service_see_the_same_pixels(images: Manifest, squares: NDArray[np.uint8]) -> None:
    for record, square in zip(images.records, squares, strict=True):
        np.testing.assert_array_equal(square, to_square(decode(FILES[record.path]).pixels, version=1))


@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_engines_answer_as_keras(
    name: EngineName, finished: FinishedRun, squares: NDArray[np.uint8], keras_probabilities: NDArray[np.float64]
) -> None:
    probabilities = engine_of(name, finished.artifact).infer(to_network_input(squares)).probabilities
    np.testing.assert_allclose(probabilities, keras_probabilities, rtol=0, atol=TOLERANCE)


def test_openvino_answers_as_tensorflow(finished: FinishedRun, squares: NDArray[np.uint8], reference: Outputs) -> None:
    assert_close(engine_of("openvino", finished.artifact).infer(to_network_input(squares)), reference)


@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_an_answer_does_not_depend_on_the_batch(
    name: EngineName, finished: FinishedRun, squares: NDArray[np.uint8], reference: Outputs
) -> None:
    engine = engine_of(name, finished.artifact)
    singles = [engine.infer(to_network_input(square[np.newaxis])) for square in squares]
    together = Outputs(
        *(np.concatenate([getattr(s, field) for s in singles]) for field in ("probabilities", "heatmap", "features"))
    )
    assert_close(together, reference)


def test_the_service_answers_as_keras(
    answers: dict[str, dict[str, Any]], keras_probabilities: NDArray[np.float64], finished: FinishedRun
) -> None:
    labels = finished.artifact.metadata.labels
    served = [[answer["probabilities"][label] for label in labels] for answer in answers.values()]
    np.testing.assert_allclose(served, keras_probabilities, rtol=0, atol=TOLERANCE)
    threshold = finished.artifact.metadata.threshold
    expected = [labels[int(row[POSITIVE] >= threshold)] for row in keras_probabilities]
    assert [answer["label"] for answer in answers.values()] == expected


def test_the_service_explains_as_tensorflow(answers: dict[str, dict[str, Any]], reference: Outputs) -> None:
    served = np.array([answer["heatmap"] for answer in answers.values()])
    np.testing.assert_allclose(served, reference.heatmap, rtol=0, atol=TOLERANCE + 0.5 * 10**-HEATMAP_DIGITS)
