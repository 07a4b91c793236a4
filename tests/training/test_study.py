"""The comparison: trained, cut off anywhere and resumed, compared, reported, exported."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import training.atomic
import training.backbones
import training.evaluate
import training.fit
import training.study
from app.artifact import open_artifact
from app.errors import TrainingError
from app.imaging import to_network_input
from tests.training.fixtures import STUDY
from tests.training.test_resume import CutOff, assert_equal_runs, stop_here
from tests.training.tiny import CONFIG, STAGE, cut_off_at, cut_off_at_write
from training.claim import claim
from training.config import Execution, StudyConfig
from training.fit import load_best
from training.manifest import Manifest, read_manifest
from training.network import logits_of
from training.squares import load_squares
from training.study import Outcome, study, train
from training.study_folder import Study, find_run, open_study, read_evidence

pytestmark = pytest.mark.usefixtures("tiny_backbones", "eager")

FILES_OF_A_RUN = 3 + 2 * (1 + 2 * 3) + 1
"""Claims; in each of two stages the history at its start, and state, history and timing of two epochs; answers."""


def assert_equal_studies(ours: Study, theirs: Study) -> None:
    for run in theirs.config.runs:
        assert_equal_runs(ours.run_folder(run), theirs.run_folder(run))
        with (
            np.load(ours.run_folder(run) / "answers.npz") as answered,
            np.load(theirs.run_folder(run) / "answers.npz") as expected,
        ):
            for name in ("validation", "test"):
                np.testing.assert_array_equal(answered[name], expected[name])


def train_until(opened: Study, place: Any, name: str, cut_off: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, cut_off)
        with pytest.raises(CutOff):
            train(opened, "python -m training study")


def test_a_study_that_was_cut_off_anywhere_ends_as_an_uninterrupted_one(
    studied: Study, tiny_data: Manifest, tmp_path: Path
) -> None:
    """In mid-epoch, while a checkpoint or the answers are written, between stages, between backbones."""
    opened = open_study(tmp_path, tiny_data, STUDY)
    train_until(opened, training.fit, "EpochProgress", cut_off_at(0, 1, 1, stop_here))
    for write in (2, 5, FILES_OF_A_RUN, 12):  # Counted from where the study goes on.
        train_until(opened, training.atomic.os, "fsync", cut_off_at_write(write, stop_here))
    train_until(opened, training.fit, "unfreeze", lambda *_: stop_here())
    train(opened, "python -m training study")
    assert_equal_studies(opened, studied)


def test_a_finished_run_is_not_trained_again(studied: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.study, "fit", lambda *_, **__: pytest.fail("trained again"))
    before = (studied.folder / "environment.json").read_bytes()
    train(studied, "python -m training study --again")
    assert (studied.folder / "environment.json").read_bytes() == before


def test_another_study_in_the_folder_is_refused(studied: Study, tiny_data: Manifest) -> None:
    fewer = StudyConfig(runs=STUDY.runs, limit=30)
    with pytest.raises(TrainingError, match="limit is None there and 30 here"):
        open_study(studied.folder, tiny_data, fewer)


def test_other_data_are_refused_before_training(studied: Study, tiny_data: Manifest, tmp_path: Path) -> None:
    folder = shutil.copytree(studied.folder, tmp_path / "study")
    (folder / "runs/tiny/VGG16/7/answers.npz").unlink()
    fewer = Manifest(tiny_data.root, tiny_data.records[:-2], grouped=True)
    with pytest.raises(TrainingError, match=r"data\.json manifest is"):
        train(open_study(folder, fewer, STUDY), "again")


def test_missing_imagenet_weights_are_said_before_any_training(
    tiny_data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last backbone's too: nobody waits for two backbones to learn of the third."""
    monkeypatch.setattr(keras.utils, "get_file", no_network)
    first, *_, last = STUDY.runs
    config = StudyConfig(runs=(first, last.model_copy(update={"weights": "imagenet"})))
    with pytest.raises(TrainingError, match=r"ImageNet weights could not be downloaded .* here as .*tiny_no_top"):
        train(open_study(tmp_path, tiny_data, config), "study")
    assert list(tmp_path.iterdir()) == []  # Other weights may be tried with the same folder.


def test_an_unreadable_test_image_is_named_before_any_training(tiny_data: Manifest, tmp_path: Path) -> None:
    """The folder stays free for the same command with ``--skip-unreadable``."""
    root = shutil.copytree(tiny_data.root, tmp_path / "data")
    bad = open_study(tmp_path / "study", tiny_data, STUDY).parts.test[0].path
    (root / bad).write_bytes(b"no image")
    with pytest.raises(TrainingError, match=rf"1 image cannot be read.*--skip-unreadable:\n.*{bad}"):
        train(open_study(tmp_path / "study", read_manifest(root), STUDY), "study")
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["cache"]


def test_recipes_of_either_preprocessing_are_compared_each_on_its_own_squares(
    tiny_data: Manifest, tmp_path: Path
) -> None:
    stages = (STAGE.model_copy(update={"epochs": 1, "warmup_epochs": 0}),)
    config = StudyConfig(
        runs=tuple(
            STUDY.runs[0].model_copy(
                update={"recipe": f"version-{version}", "preprocessing": version, "stages": stages}
            )
            for version in (1, 2)
        )
    )
    opened = open_study(tmp_path, tiny_data, config)
    train(opened, "study")
    for run in config.runs:
        squares = load_squares(tiny_data.root, opened.parts.test, preprocessing=run.preprocessing)
        expected = logits_of(load_best(opened.run_folder(run), run), to_network_input(squares))
        with np.load(opened.run_folder(run) / "answers.npz") as answered:
            np.testing.assert_allclose(answered["test"], expected, atol=1e-4)
    evidence = read_evidence(opened)
    winner = evidence.models[evidence.winner].run
    assert evidence.look
    squares, _ = evidence.look(opened.parts.test)
    np.testing.assert_array_equal(
        squares, load_squares(tiny_data.root, opened.parts.test, preprocessing=winner.preprocessing)
    )


def no_network(*_: object, **__: object) -> None:
    raise Exception("URL fetch failure on http://127.0.0.1:9/tiny-no-top.h5: None -- Connection refused")


def test_a_limited_study_trains_on_so_many_images(tiny_data: Manifest, tmp_path: Path) -> None:
    config = StudyConfig(runs=(STUDY.runs[0],), limit=40)
    opened = open_study(tmp_path, tiny_data, config)
    assert len(opened.manifest.records) == 40
    assert sum(len(part) for part in opened.parts.parts().values()) == 40
    claim(tmp_path / "study.json", config)
    assert open_study(tmp_path, tiny_data) == opened


def test_too_low_a_limit_is_said_and_takes_no_folder(tiny_data: Manifest, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"With --limit 5: non-COVID has 2 groups .* Raise the limit\."):
        open_study(tmp_path / "study", tiny_data, StudyConfig(runs=STUDY.runs, limit=5))
    assert not (tmp_path / "study").exists()


def test_a_run_that_diverges_is_left_out_and_the_others_go_on(tiny_data: Manifest, tmp_path: Path) -> None:
    first, second, _ = STUDY.runs
    absurd = first.stages[0].model_copy(update={"peak_learning_rate": 1e38, "warmup_epochs": 0, "optimizer": "adam"})
    diverging = first.model_copy(update={"stages": (absurd,)})
    opened = open_study(tmp_path, tiny_data, StudyConfig(runs=(diverging, second)))
    train(opened, "study")
    evidence = read_evidence(opened)
    assert [model.name for model in evidence.models] == [second.name]
    assert evidence.notes == (f"{first.name} diverged and is left out: its validation loss was never a number.",)
    before = (opened.run_folder(diverging) / "timing.json").read_bytes()
    train(opened, "study")
    assert (opened.run_folder(diverging) / "timing.json").read_bytes() == before
    with pytest.raises(TrainingError, match=r"Every run of .* diverged: tiny/VGG16/7"):
        find_run(opened, "VGG16")


def test_another_execution_in_the_folder_is_refused(studied: Study, tiny_data: Manifest) -> None:
    """Else some runs of the comparison would be in another precision than others."""
    coarse = STUDY.model_copy(update={"execution": Execution(precision="mixed_bfloat16")})
    with pytest.raises(TrainingError, match=r"execution\.precision is float32 there and mixed_bfloat16 here"):
        open_study(studied.folder, tiny_data, coarse)


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)


@pytest.fixture
def outcome(studied: Study, tiny_data: Manifest, tmp_path: Path, few_rounds: None) -> Outcome:
    folder = shutil.copytree(studied.folder, tmp_path / "study")
    return study(tiny_data, STUDY, folder, tmp_path / "models", "python -m training study")


def test_it_ends_with_a_report_and_the_winner_as_an_artifact(outcome: Outcome, tmp_path: Path) -> None:
    assert outcome.report.is_file()
    assert outcome.artifact
    backbone = outcome.artifact.metadata.backbone
    assert outcome.winner == f"tiny/{backbone}/7"
    assert outcome.artifact.path == tmp_path / "models" / backbone.lower() / "1"
    assert open_artifact(outcome.artifact.path).metadata.metrics["test"]["metrics"]


def test_the_same_command_again_exports_nothing_again(outcome: Outcome, tiny_data: Manifest, tmp_path: Path) -> None:
    again = study(tiny_data, STUDY, tmp_path / "study", tmp_path / "models", "python -m training study")
    assert again.artifact
    assert outcome.artifact
    assert again.artifact.path == outcome.artifact.path
    assert [path.name for path in outcome.artifact.path.parent.iterdir()] == ["1"]


def test_a_winner_that_cannot_be_exported_is_named_with_the_report(
    studied: Study, tiny_data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_rounds: None
) -> None:
    def collapsed(*_: object) -> None:
        raise TrainingError("It answers too evenly.")

    monkeypatch.setattr(training.study, "export_run", collapsed)
    folder = shutil.copytree(studied.folder, tmp_path / "study")
    winner = r"the winner, tiny/\w+/7, cannot be exported\. It answers too evenly\."
    with pytest.raises(TrainingError, match=rf"index\.html is written, but {winner}"):
        study(tiny_data, STUDY, folder, tmp_path / "models", "python -m training study")
    assert (folder / "report/index.html").is_file()


def test_without_tensorflow_as_backend_it_ends_with_the_report(
    studied: Study, tiny_data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_rounds: None
) -> None:
    monkeypatch.setattr(training.study, "can_export", lambda: False)
    folder = shutil.copytree(studied.folder, tmp_path / "study")
    outcome = study(tiny_data, STUDY, folder, tmp_path / "models", "python -m training study")
    assert outcome.artifact is None
    assert outcome.report.is_file()
    assert not (tmp_path / "models").exists()


def test_the_environment_of_each_start_is_kept(tiny_data: Manifest, tmp_path: Path) -> None:
    one = STUDY.runs[0].model_copy(update={"stages": CONFIG.stages[:1]})
    opened = open_study(tmp_path, tiny_data, StudyConfig(runs=(one,)))
    train_until(opened, training.fit, "EpochProgress", cut_off_at(0, 0, 0, stop_here))
    train(opened, "resumed")
    entries = json.loads((tmp_path / "environment.json").read_text())
    assert [entry["command"] for entry in entries] == ["python -m training study", "resumed"]
    assert {"device", "processor", "backend", "keras", "python", "commit"} <= entries[0]["environment"].keys()
