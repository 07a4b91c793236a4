"""A model of preprocessing version 2 from its training to its answers over HTTP: the same pixels, the same figures."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.artifact import Artifact
from tests.app.engines.tiny import without_gate
from tests.app.server import Server
from tests.contract.keras_answers import keras_answers
from tests.images import dicom, encode, radiograph
from tests.training.fixtures import FinishedRun
from tests.training.folders import write_files
from tests.training.tiny import TINY, export_tiny, image_of
from training.backbones import BACKBONES
from training.config import FitConfig
from training.external import evaluate
from training.fit import read_config
from training.manifest import POSITIVE, Manifest, read_manifest
from training.squares import load_squares

TOLERANCE: Final = 1e-5
"""Absolute, of probabilities; as in ``test_engines_agree``."""

ZERO, ONE = image_of(0, 100), image_of(1, 100)  # 40 x 48 each

FILES: Final = {
    "0/landscape.png": encode(np.hstack([ONE, ZERO, ONE]), "PNG"),
    "0/portrait.png": encode(np.vstack([ONE, ZERO, ONE]), "PNG"),
    "0/radiograph.jpg": encode(radiograph(301, 260, seed=1), "JPEG"),
    "1/landscape.png": encode(np.hstack([ZERO, ONE, ZERO]), "PNG"),
    "1/film.dcm": dicom(radiograph(200, 331, seed=3), photometric_interpretation="MONOCHROME1"),
}
SEEN: Final = {
    "0/landscape.png": (52, 0, 40, 40),
    "0/portrait.png": (0, 36, 48, 48),
    "0/radiograph.jpg": (0, 20, 260, 260),
    "1/landscape.png": (52, 0, 40, 40),
    "1/film.dcm": (65, 0, 200, 200),
}
LONG: Final = ("0/landscape.png", "0/portrait.png", "1/landscape.png", "1/film.dcm")


@dataclass(frozen=True)
class Exported:
    """A run of version 2, and its export."""

    run: Path
    config: FitConfig
    artifact: Artifact


@pytest.fixture(scope="module")
def exported(finished: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """The finished run as if its recipe had said 2 from the start: its weights do not matter here."""
    folder = tmp_path_factory.mktemp("version-2")
    run = shutil.copytree(finished.run, folder / "run", ignore=shutil.ignore_patterns("exported.json"))
    config = finished.config.model_copy(update={"preprocessing": 2})
    (run / "config.json").write_text(config.model_dump_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "NASNetMobile", TINY)
        yield Exported(run, read_config(run), export_tiny(run, finished.manifest, folder / "models"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(write_files(tmp_path_factory.mktemp("images"), FILES))


@pytest.fixture(scope="module")
def server(exported: Exported, cache_dir: Path) -> Iterator[Server]:
    with Server(model=exported.artifact.path, cache_dir=cache_dir) as server:
        yield server


def keras_probabilities(exported: Exported, images: Manifest, preprocessing: int) -> NDArray[np.float64]:
    """What the trained model answers for the files as training preprocesses them, (N, 2)."""
    squares = load_squares(images.root, images.records, preprocessing=preprocessing)
    return keras_answers(exported.run, exported.config, exported.artifact.metadata, squares)


def test_the_artifact_and_its_card_say_so(exported: Exported) -> None:
    assert exported.artifact.metadata.preprocessing_version == 2
    assert "centre square (preprocessing version 2)" in exported.artifact.card


def test_the_service_answers_as_training_does(exported: Exported, images: Manifest, server: Server) -> None:
    labels = exported.artifact.metadata.labels
    answers = [server.client.post("/predict", content=FILES[record.path]).json() for record in images.records]
    served = np.array([[answer["probabilities"][label] for label in labels] for answer in answers])
    np.testing.assert_allclose(served, keras_probabilities(exported, images, 2), rtol=0, atol=TOLERANCE)
    assert np.abs(served - keras_probabilities(exported, images, 1)).max() > 1000 * TOLERANCE


def test_external_evaluation_answers_as_the_service_does(exported: Exported, images: Manifest, tmp_path: Path) -> None:
    ungated = without_gate(shutil.copytree(exported.artifact.path, tmp_path / "1"))
    evidence = evaluate(ungated, images, "openvino", "evaluate")
    expected = keras_probabilities(exported, images, 2)[:, POSITIVE]
    np.testing.assert_allclose(evidence.models[0].parts["all"].probabilities, expected, rtol=0, atol=TOLERANCE)
    assert evidence.look
    squares, _ = evidence.look(images.records)
    np.testing.assert_array_equal(squares, load_squares(images.root, images.records, preprocessing=2))


@pytest.mark.parametrize("name", FILES)
def test_the_answer_says_which_part_was_seen(server: Server, name: str) -> None:
    answer = server.client.post("/predict", content=FILES[name]).json()
    assert answer["input"]["seen_region"] == dict(zip(("left", "top", "width", "height"), SEEN[name], strict=True))
    codes = [warning["code"] for warning in answer["warnings"]]
    assert codes.count("centre_square_only") == (name in LONG)


@pytest.mark.parametrize("name", FILES)
def test_the_overlay_leaves_the_rest_without_colour(server: Server, name: str) -> None:
    left, top, width, height = SEEN[name]
    with Image.open(io.BytesIO(server.client.post("/explain", content=FILES[name]).content)) as image:
        colour = np.ptp(np.asarray(image, np.int16), axis=2)
    assert colour[top : top + height, left : left + width].max() > 50
    colour[top : top + height, left : left + width] = 0
    assert not colour.any()
