import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.artifact import open_artifact
from app.engines import EngineName, load_engine
from app.errors import ArtifactError, TrainingError
from app.gate import Gate
from app.imaging import to_network_input, to_square
from app.imaging.decode import decode
from tests.training.fixtures import FinishedRun
from tests.training.tiny import make_data
from training.calibration import Calibration
from training.external import evaluate
from training.images import LIMITS
from training.manifest import Manifest, read_manifest
from training.splits import split


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Another hospital's folder: fewer images, no table."""
    root = tmp_path_factory.mktemp("elsewhere") / "data"
    make_data(root, groups=4)
    for path in root.glob("*/*.png"):
        path.write_bytes(path.read_bytes() + b" ")  # Another file than of the training, which is made alike.
    (root / "metadata.csv").unlink()
    return read_manifest(root)


class DarkRefused:
    """Stands for a gate: refuses what is darker than a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def inspect(self, square: NDArray[np.uint8], features: NDArray[np.float32], coloured: float) -> str | None:
        assert (features.ndim, coloured) == (1, 0.0)
        return "too dark" if square.mean() < self.limit else None


@pytest.fixture(autouse=True)
def no_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model's own gate, fitted on thirty images, lets next to nothing through."""
    monkeypatch.setattr(Gate, "load", lambda _: None)


def test_what_the_gate_refuses_is_counted_and_in_no_figure(
    finished: FinishedRun, elsewhere: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of class 0 are the darker ones."""
    means = {
        record.path: to_square(decode((elsewhere.root / record.path).read_bytes(), LIMITS).pixels, version=1).mean()
        for record in elsewhere.records
    }
    limit = np.sort([means[record.path] for record in elsewhere.records])[3]
    monkeypatch.setattr(Gate, "load", lambda _: DarkRefused(limit))
    evidence = evaluate(finished.artifact.path, elsewhere, "openvino", "evaluate")
    assert evidence.refused == {"non-COVID": 3, "COVID-19": 0}
    kept = tuple(record for record in elsewhere.records if means[record.path] >= limit)
    assert evidence.manifest.records == evidence.models[0].parts["all"].records == kept
    assert evidence.notes == (
        "3 non-COVID and 0 COVID-19 more images were refused by the model's input gate: they are in no figure here.",
    )


def test_without_a_gate_nothing_is_refused(finished: FinishedRun, elsewhere: Manifest) -> None:
    assert evaluate(finished.artifact.path, elsewhere, "openvino", "evaluate").refused is None


def test_a_folder_of_which_the_gate_refuses_all_is_no_evaluation(
    finished: FinishedRun, elsewhere: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "load", lambda _: DarkRefused(256))
    with pytest.raises(TrainingError, match="refuses all 16 images"):
        evaluate(finished.artifact.path, elsewhere, "openvino", "evaluate")


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_every_image_is_asked_about_through_the_serving_engine(
    engine: EngineName, finished: FinishedRun, elsewhere: Manifest
) -> None:
    evidence = evaluate(finished.artifact.path, elsewhere, engine, "python -m training evaluate")
    [model] = evidence.models
    answers = model.parts["all"]
    assert answers.records == elsewhere.records
    loaded = load_engine("openvino", open_artifact(finished.artifact.path))
    for record, probability in zip(answers.records, answers.probabilities, strict=True):
        square = to_square(decode((elsewhere.root / record.path).read_bytes(), LIMITS).pixels, version=1)
        served = loaded.infer(to_network_input(square[None])).probabilities[0, 1]
        assert probability == pytest.approx(served, abs=1e-4)


def test_nothing_is_fitted_to_the_folder(finished: FinishedRun, elsewhere: Manifest) -> None:
    evidence = evaluate(finished.artifact.path.parent, elsewhere, "openvino", "evaluate")
    metadata = finished.artifact.metadata
    [model] = evidence.models
    assert (model.threshold, model.calibration) == (metadata.threshold, Calibration.of(metadata))
    assert (model.recipe, model.backbone, model.seed) == (metadata.recipe, metadata.backbone, None)
    assert (evidence.split, evidence.trivial_rules_fitted_on) == (None, "the same images")
    assert evidence.environment["model digest"] == finished.artifact.digest
    assert evidence.environment["engine"].count("f32") == 1
    assert evidence.notes == ()


def test_the_data_of_its_training_are_recognised(finished: FinishedRun) -> None:
    evidence = evaluate(finished.artifact.path, finished.manifest, "openvino", "evaluate")
    seen = len(split(finished.manifest, finished.config.split_seed).train) * 5 // 4
    assert evidence.seen_images == pytest.approx(seen, abs=4)
    assert (
        f"{evidence.seen_images} of these 48 images are among the data that the model was trained on"
        in evidence.notes[0]
    )


def test_single_images_of_its_training_are_recognised(
    finished: FinishedRun, elsewhere: Manifest, tmp_path: Path
) -> None:
    """Those of its test part it has not seen."""
    root = shutil.copytree(elsewhere.root, tmp_path / "data")
    parts = split(finished.manifest, finished.config.split_seed)
    for record in (parts.train[0], parts.validation[0], parts.test[0]):
        shutil.copy(finished.manifest.root / record.path, root / f"{record.label}/shared-{record.sha256[:4]}.png")
    evidence = evaluate(finished.artifact.path, read_manifest(root), "openvino", "evaluate")
    assert evidence.seen_images == 2


def test_heatmaps_come_from_the_engine(finished: FinishedRun, elsewhere: Manifest) -> None:
    evidence = evaluate(finished.artifact.path, elsewhere, "openvino", "evaluate")
    assert evidence.look
    squares, heatmaps = evidence.look(elsewhere.records[:2])
    expected = load_engine("openvino", finished.artifact).infer(to_network_input(squares)).heatmap
    np.testing.assert_allclose(heatmaps, expected, atol=1e-5)


def test_one_class_alone_is_enough(finished: FinishedRun, elsewhere: Manifest, tmp_path: Path) -> None:
    shutil.copytree(elsewhere.root / "1", tmp_path / "1")
    evidence = evaluate(finished.artifact.path, read_manifest(tmp_path, both_classes=False), "openvino", "evaluate")
    assert set(evidence.models[0].parts["all"].labels) == {1}
    assert evidence.trivial_rules == {}


def test_a_folder_that_is_no_model_is_refused(elsewhere: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        evaluate(tmp_path, elsewhere, "openvino", "evaluate")


def test_unreadable_images_are_named(finished: FinishedRun, elsewhere: Manifest, tmp_path: Path) -> None:
    root = shutil.copytree(elsewhere.root, tmp_path / "data")
    (root / "0/broken.png").write_bytes(b"no image")
    with pytest.raises(TrainingError, match=r"0/broken\.png"):
        evaluate(finished.artifact.path, read_manifest(root), "openvino", "evaluate")
