"""The input gate, fitted and measured: alike each time, of few images too, and reported with what was wrong."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from app.errors import TrainingError
from app.gate import POSES, UPRIGHT, Gate
from app.imaging import to_square
from tests.app.fakes import FakeEngine
from tests.images import radiograph
from tests.training.fixtures import FinishedRun
from training.__main__ import app
from training.gate import find, fit_gate, gate_record, in_pose, is_expected
from training.gate_report import ACCEPTED, measure_gate, write_gate_report
from training.negatives import KINDS, write_negatives
from training.not_radiographs import MADE_UP, OF_RADIOGRAPHS, make_not_radiographs

INFER = FakeEngine().infer


def squares(seeds: range) -> np.ndarray:
    return np.stack([to_square(radiograph(seed=seed), version=1) for seed in seeds])


TRAIN, VALIDATION, OTHERS = squares(range(20)), squares(range(20, 30)), squares(range(30, 36))


@pytest.fixture(scope="module")
def gate() -> Gate:
    return fit_gate(INFER, TRAIN, VALIDATION)


@pytest.fixture(scope="module")
def roomy(gate: Gate) -> Gate:
    """The gate with limits that ten validation images are too few to choose."""
    return replace(gate, surprise_limit=1, distance_limit=10)


def test_the_same_images_give_the_same_gate(gate: Gate) -> None:
    assert fit_gate(INFER, TRAIN, VALIDATION).to_bytes() == gate.to_bytes()


def test_fewer_images_than_features_are_enough() -> None:
    gate = fit_gate(INFER, TRAIN[:6], VALIDATION[:2])
    assert len(gate.feature_axes) == 3
    assert all(np.isfinite(getattr(gate, field.name)).all() for field in fields(gate))


@pytest.mark.parametrize("pose", range(len(POSES)))
def test_a_pose_is_named_with_what_puts_it_upright(pose: int, roomy: Gate) -> None:
    found = find(roomy, INFER, in_pose(OTHERS, pose))
    assert all(is_expected(finding, pose) for finding in found)
    other = 1 if pose == UPRIGHT else UPRIGHT
    assert not any(is_expected(finding, other) for finding in found)


def test_the_advice_puts_a_turned_radiograph_upright(roomy: Gate) -> None:
    turns = {"90 degrees clockwise": -1, "180 degrees": 2, "90 degrees counterclockwise": 1}
    for pose in (1, 2, 3):
        turned = in_pose(OTHERS[:1], pose)
        (finding,) = find(roomy, INFER, turned)
        (quarters,) = (number for words, number in turns.items() if f"by {words} and" in str(finding))
        np.testing.assert_array_equal(np.rot90(turned, quarters, axes=(1, 2)), OTHERS[:1])


def test_the_record_counts_every_pose(roomy: Gate) -> None:
    record = gate_record(roomy, INFER, TRAIN, {"validation": VALIDATION, "test": OTHERS})
    assert record.fitted_on["training radiographs"] == 20
    images = {kind: count.images for kind, count in record.test.items()}
    assert images == {"upright": 6, "turned": 18, "inverted": 6, "inverted and turned": 18}
    assert all(count.as_expected == count.images for count in record.test.values())
    assert (record.surprise_limit, record.distance_limit) == (1, 10)


def test_images_made_in_code_are_of_every_kind_and_alike_each_time() -> None:
    count = len(MADE_UP) + len(OF_RADIOGRAPHS)
    made, again = (make_not_radiographs(TRAIN, count, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(made, again)
    assert (made.shape, made.dtype) == ((count, 224, 224), np.uint8)
    assert len({image.tobytes() for image in made}) == count


@pytest.mark.usefixtures("tiny_backbone")
def test_an_export_stores_a_gate_that_fits_its_model(finished: FinishedRun) -> None:
    artifact = finished.artifact
    gate, record = Gate.load(artifact), artifact.metadata.gate
    assert gate
    assert record
    assert len(gate.feature_mean) == 16
    assert record.test["upright"].images == sum(artifact.metadata.metrics["test"]["images"].values())
    assert "## Input gate" in artifact.card


@pytest.fixture
def negatives(tmp_path: Path) -> Path:
    """A folder of two kinds, and a file that is no image."""
    random = np.random.default_rng(0)
    for name in ("noise/a", "noise/b", "plain/c"):
        path = tmp_path / "negatives" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        level = random.integers(0, 256, (90, 90, 3), np.uint8) if name != "plain/c" else np.full((9, 9), 7, np.uint8)
        Image.fromarray(level).save(path)
    (tmp_path / "negatives" / "notes.txt").write_text("no image")
    return tmp_path / "negatives"


def test_the_report_has_rates_lists_and_speed(finished: FinishedRun, negatives: Path, tmp_path: Path) -> None:
    path = finished.artifact.path
    measured = measure_gate(path, finished.manifest, 7, negatives, "the command", list_files=False)
    assert sum(measured.radiographs["upright"].said.values()) == measured.radiographs["upright"].images == 10
    assert {kind: rate.images for kind, rate in measured.negatives.items()} == {"noise": 2, "plain": 1, "all": 3}
    assert measured.negatives["plain"].said == {"blank_image": 1}
    assert measured.unreadable == ["notes.txt: unsupported_format"]
    assert all(0 <= rate.low <= rate.right / rate.images <= rate.high <= 1 for rate in measured.radiographs.values())
    assert {wrong.said for wrong in measured.accepted_negatives} <= {ACCEPTED, "colour_image"}
    digests = {record.sha256[:16] for record in finished.manifest.records}
    assert {wrong.name for wrong in measured.wrong_radiographs} <= digests
    assert measured.microseconds > 0
    text = write_gate_report(measured, tmp_path / "out").read_text()
    for words in ("the command", "test part, 10 radiographs", "| plain | 1 | 1 (100.00%)", "notes.txt", "µs"):
        assert words in text
    assert json.loads((tmp_path / "out" / "gate.json").read_text())["digest"] == finished.artifact.digest


def test_of_other_data_all_images_are_asked_about(finished: FinishedRun, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "0").mkdir(parents=True)
    for seed in range(3):
        Image.fromarray(radiograph(seed=seed)).save(data / "0" / f"of-{seed}.png")
    arguments = ["gate", "--model", finished.artifact.path, "--data", data, "--out", tmp_path / "out", "--list-files"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "gate.md").read_text()
    assert "all 3 radiographs of data that the model was not trained on" in text
    wrong = json.loads((tmp_path / "out" / "gate.json").read_text())["wrong_radiographs"]
    assert all(image["name"].startswith("0/of-") for image in wrong)


def test_a_folder_without_images_is_refused(finished: FinishedRun, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="holds no image that can be read"):
        measure_gate(finished.artifact.path, finished.manifest, 7, tmp_path / "empty", "", list_files=False)


@pytest.mark.parametrize("kind", ["scikit-learn", "matplotlib", "charts", "pages", "speckle", "shades"])
def test_negatives_are_gathered_from_what_training_needs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.negatives.KINDS", {kind: KINDS[kind]})
    counts = write_negatives(tmp_path)
    assert counts[kind] == len(list((tmp_path / kind).glob("*.png"))) > 5


def test_negatives_of_packages_that_are_not_installed_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.negatives.find_spec", lambda _: None)
    monkeypatch.setattr("training.negatives.KINDS", {"scikit-image": KINDS["scikit-image"]})
    assert write_negatives(tmp_path) == {}
