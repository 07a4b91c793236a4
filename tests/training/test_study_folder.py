import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import TrainingError
from tests.training.fixtures import STUDY
from training.calibration import Calibration
from training.config import RECIPES, FitConfig, read_recipe
from training.fit import load_best
from training.manifest import Manifest, Record
from training.network import Network
from training.results import Answers, TrainedModel
from training.study_folder import (
    Study,
    _changed_recipes,
    choose_winner,
    find_run,
    open_study,
    read_evidence,
    read_models,
)

LABELS = (0, 0, 0, 1, 1, 1)


def model(backbone: str, seed: int, *probabilities: float, recipe: str = "native", test: float = 0.5) -> TrainedModel:
    """Make a model by its answers on validation, to three images without COVID-19 and three with it."""
    records = tuple(Record(f"{i}.png", label, str(i), "", "", "") for i, label in enumerate(LABELS))
    parts = {
        "validation": Answers(records, np.array(probabilities, np.float32)),
        "test": Answers(records, np.full(6, test, np.float32)),
    }
    return TrainedModel(recipe, backbone, seed, parts, Calibration(), 0.5, "", 0)


GOOD = (0.1, 0.2, 0.3, 0.7, 0.8, 0.9)
FAIR = (0.1, 0.2, 0.6, 0.7, 0.8, 0.9)
POOR = (0.9, 0.9, 0.9, 0.9, 0.9, 0.9)


def test_the_winner_has_the_best_mean_over_its_seeds_on_validation() -> None:
    """ResNet50's best seed is the best of all, but its other seed failed."""
    models = [
        model("ResNet50", 7, *GOOD),
        model("ResNet50", 8, *POOR),
        model("VGG16", 7, *FAIR),
        model("VGG16", 8, *FAIR),
    ]
    assert models[choose_winner(models)].backbone == "VGG16"


def test_among_the_winners_seeds_the_best_is_taken() -> None:
    models = [model("VGG16", 7, *POOR), model("ResNet50", 7, *FAIR), model("ResNet50", 8, *GOOD)]
    assert models[choose_winner(models)].name == "native/ResNet50/8"


def test_of_equal_accuracies_the_lower_cross_entropy_wins() -> None:
    surer = (0.01, 0.02, 0.03, 0.97, 0.98, 0.99)
    models = [model("VGG16", 7, *GOOD), model("ResNet50", 7, *surer)]
    assert models[choose_winner(models)].backbone == "ResNet50"


def test_equal_means_over_seeds_are_equal_however_they_are_rounded() -> None:
    """Five and three of six are as many as four and four; their shares, 5/6 and 3/6, sum up to more than twice 4/6."""
    five, three, four = (0.1, 0.2, 0.6, 0.7, 0.8, 0.9), (0.9, 0.8, 0.7, 0.7, 0.8, 0.9), (0.1, 0.51, 0.51, 0.7, 0.8, 0.9)
    models = [
        model("ResNet50", 7, *five),
        model("ResNet50", 8, *three),
        model("VGG16", 7, *four),
        model("VGG16", 8, *four),
    ]
    assert models[choose_winner(models)].backbone == "VGG16"  # The lower cross-entropy.


def test_recipes_compete_as_backbones_do() -> None:
    models = [model("VGG16", 7, *FAIR, recipe="original"), model("VGG16", 7, *GOOD)]
    assert models[choose_winner(models)].recipe == "native"


@pytest.mark.parametrize("test", [0.0, 1.0])
def test_the_test_part_has_no_say(test: float) -> None:
    models = [model("VGG16", 7, *GOOD, test=1 - test), model("ResNet50", 7, *FAIR, test=test)]
    assert models[choose_winner(models)].backbone == "VGG16"


def test_evidence_holds_every_run(studied: Study, tiny_backbones: None) -> None:
    evidence = read_evidence(studied)
    assert [m.name for m in evidence.models] == [run.name for run in STUDY.runs]
    for of in evidence.models:
        assert {name: answers.records for name, answers in of.parts.items()} == {
            "validation": studied.parts.validation,
            "test": studied.parts.test,
        }
        assert [len(stage) for stage in of.history] == [2, 2]
        assert len(of.timings) == 4
        assert "head_dense_1" in of.structure
        assert of.execution
        assert 0 <= of.threshold <= 1
    assert set(evidence.trivial_rules) == {"not_square", "mean_brightness", "contrast"}
    assert evidence.title == "VGG16, ResNet50, NASNetLarge on chest X-rays: COVID-19 and non-COVID"
    assert evidence.command == "python -m training study"
    assert evidence.environment["backend"] == "tensorflow"


def test_the_winner_is_looked_at_with_its_own_heatmaps(studied: Study, tiny_backbones: None) -> None:
    evidence = read_evidence(studied)
    run = studied.config.runs[evidence.winner]
    records = studied.parts.test[:3]
    assert evidence.look
    squares, heatmaps = evidence.look(records)
    assert (squares.shape, squares.dtype) == ((3, 224, 224), np.uint8)
    network = Network(load_best(studied.run_folder(run), run), evidence.models[evidence.winner].calibration)
    images = np.repeat(squares[..., None] / np.float32(255), 3, axis=-1)
    np.testing.assert_allclose(heatmaps, np.asarray(network.outputs(images)["heatmap"]), atol=1e-5)


@pytest.mark.parametrize("backbone", ["VGG16", "NASNetLarge"])
def test_a_run_is_found_by_its_backbone(backbone: str, studied: Study) -> None:
    assert find_run(studied, backbone).backbone == backbone


def test_a_run_that_is_not_there_is_said_with_those_that_are(studied: Study) -> None:
    with pytest.raises(TrainingError, match=r"no run of NASNetMobile and native\. It has: tiny/VGG16/7, "):
        find_run(studied, "NASNetMobile", "native")


def test_an_unfinished_study_is_refused(tiny_data: Manifest, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"VGG16/7 is not finished\. Run the same 'study' again"):
        read_models(open_study(tmp_path, tiny_data, STUDY), STUDY.runs)


def test_a_run_is_found_while_others_are_not_finished(studied: Study, tmp_path: Path) -> None:
    folder = shutil.copytree(studied.folder, tmp_path / "study")
    (folder / "runs/tiny/VGG16/7/answers.npz").unlink()
    assert find_run(open_study(folder, studied.manifest), "ResNet50").backbone == "ResNet50"


def test_a_changed_recipe_of_a_known_name_is_said(tiny_data: Manifest, tmp_path: Path) -> None:
    native = read_recipe(RECIPES / "native.toml", backbone="VGG16", weights="/home/somebody/weights.h5")
    shorter = native.model_copy(update={"batch_size": 8})
    assert _changed_recipes([native.model_copy(update={"weights": "imagenet"})]) == []
    assert _changed_recipes([shorter, shorter.model_copy(update={"seed": 8})]) == [
        "native of VGG16 is not the recipe as it ships ('there'): weights is imagenet there and a file here; "
        "batch_size is 128 there and 8 here."
    ]


def test_a_folder_that_is_no_study_is_refused(tiny_data: Manifest, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not a study folder: study\.json is missing"):
        open_study(tmp_path, tiny_data)


def test_a_finished_study_is_not_measured_on_other_data(studied: Study) -> None:
    manifest = studied.manifest
    swapped = (replace(manifest.records[0], label=1 - manifest.records[0].label), *manifest.records[1:])
    for records in (swapped, manifest.records[:-1]):
        with pytest.raises(TrainingError, match=r"VGG16/7 holds another run: in its data\.json manifest is"):
            open_study(studied.folder, replace(manifest, records=records))


def test_runs_of_one_name_are_refused(tiny_data: Manifest) -> None:
    from training.config import StudyConfig

    with pytest.raises(TrainingError, match="Two runs are called unnamed/VGG16/7"):
        StudyConfig(runs=(FitConfig(backbone="VGG16"), FitConfig(backbone="VGG16", batch_size=8)))
    with pytest.raises(TrainingError, match="the same split_seed"):
        StudyConfig(runs=(FitConfig(backbone="VGG16"), FitConfig(backbone="ResNet50", split_seed=8)))


@pytest.mark.parametrize("name", ["study.json", "environment.json"])
def test_a_damaged_file_of_the_study_is_named(name: str, studied: Study, tmp_path: Path, tiny_backbones: None) -> None:
    folder = shutil.copytree(studied.folder, tmp_path / "study")
    halve(folder / name)
    with pytest.raises(TrainingError, match=rf"{name} is damaged \(.*\)\. Bring it back"):
        read_evidence(open_study(folder, studied.manifest))


@pytest.mark.parametrize("name", ["answers.npz", "execution.json", "history-0.csv", "timing.json"])
def test_a_damaged_file_of_a_run_is_named(name: str, studied: Study, tmp_path: Path) -> None:
    folder = shutil.copytree(studied.folder, tmp_path / "study")
    halve(folder / "runs/tiny/ResNet50/7" / name)
    with pytest.raises(TrainingError, match=rf"ResNet50/7/{re.escape(name)} is damaged \(.*\)\. Bring it back"):
        read_models(open_study(folder, studied.manifest), studied.config.runs)


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
