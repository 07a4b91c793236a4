import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

import training.export
from app.artifact import DATA_CARD, METADATA, MODEL_CARD, open_artifact
from app.engines import load_engine
from app.errors import ArtifactError, TrainingError
from app.imaging import to_network_input
from app.outputs import Outputs
from tests.training.fixtures import FinishedRun
from tests.training.tiny import CALIBRATION, export_tiny
from training.calibration import Calibration
from training.card import model_card
from training.card_facts import FACTS, gather_facts, read_facts
from training.config import RECIPES, Execution, read_recipe
from training.evaluate import THRESHOLD_RULE
from training.export import RELIABILITY, find_exported
from training.fit import fit, load_best
from training.manifest import read_manifest
from training.network import logits_of
from training.prevalence import PREVALENCES
from training.recipe_text import stage_text
from training.seen import SEEN
from training.splits import split
from training.squares import load_squares

pytestmark = pytest.mark.usefixtures("tiny_backbone")


def test_the_artifact_describes_the_model(finished: FinishedRun) -> None:
    metadata = finished.artifact.metadata
    assert (metadata.name, metadata.version, metadata.backbone) == ("nasnetmobile", 1, "NASNetMobile")
    assert metadata.labels == ("non-COVID", "COVID-19")
    assert metadata.data_digest == finished.manifest.digest
    assert metadata.note == (
        "Research use only: never a diagnosis. "
        "NASNetMobile stands in for NASNetLarge, the winner of the original study. "
        "Trained from random weights, without ImageNet."
    )
    assert Calibration.of(metadata) == CALIBRATION
    assert 0 <= metadata.threshold <= 1
    variables = finished.artifact.path / "variables/variables.data-00000-of-00001"
    assert variables.stat().st_size / (4 * metadata.parameter_count) == pytest.approx(1, abs=0.01)


def test_the_metrics_say_what_they_were_measured_on(finished: FinishedRun) -> None:
    metrics = finished.artifact.metadata.metrics
    for name, records in split(finished.manifest, finished.config.split_seed).parts().items():
        if name != "train":
            assert sum(metrics[name]["images"].values()) == len(records)
            assert sum(metrics[name]["groups"].values()) == len({r.group for r in records})
    test = metrics["test"]
    assert {"accuracy", "sensitivity", "specificity", "roc_auc", "f1_COVID-19"} <= test["metrics"].keys()
    assert set(test["sources"]) == {"both", "only 0", "only 1"}
    assert test["sources"]["only 0"]["metrics"].keys() == {"specificity"}
    assert set(metrics["trivial_rules"]) == {"not_square", "mean_brightness", "contrast"}


def test_the_model_tells_the_classes_apart(finished: FinishedRun) -> None:
    assert finished.artifact.metadata.metrics["test"]["metrics"]["roc_auc"]["value"] > 0.9


def test_the_card_holds_what_a_reader_needs(finished: FinishedRun) -> None:
    card, metrics = finished.artifact.card, finished.artifact.metadata.metrics
    parts = split(finished.manifest, finished.config.split_seed).parts()
    for name, records in parts.items():
        counts = [sum(r.label == label for r in records) for label in (0, 1)]
        assert f"| {name} | {counts[0]} | {counts[1]} | {len({r.group for r in records})} |" in card
    for metric in ("accuracy", "roc_auc", "sensitivity"):
        measured = metrics["test"]["metrics"][metric]
        assert f"{measured['value']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})" in card
    assert "| only 0 | " in card
    assert "not estimable" in card
    assert "CC0 (24)" in card
    assert "not stated (24)" in card
    assert "stands in for NASNetLarge" in card
    assert "no group is in two parts" in card
    assert "Out of scope: screening, triage, diagnosis" in card
    headings = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "At a glance",
        "Intended use",
        "Limits",
        "Results",
        "Shortcuts",
        "Input gate",
        "Data",
        "Model",
        "Precisions",
        "Ethical considerations",
    ]


def test_the_metrics_hold_what_a_reader_needs_beside_them(finished: FinishedRun) -> None:
    test = finished.artifact.metadata.metrics["test"]
    assert sum(of["images"] for of in test["calibration"]) == sum(test["images"].values())
    assert [of["prevalence"] for of in test["predictive_values"]] == list(PREVALENCES)
    assert set(test["views"]) == set(test["ages"]) == set(test["sexes"]) == {"not stated"}
    assert finished.artifact.metadata.metrics["threshold_choice"]["rule"] == "youden"
    assert finished.artifact.metadata.threshold_rule == THRESHOLD_RULE


def test_the_artifact_carries_the_data_card(finished: FinishedRun) -> None:
    assert finished.artifact.data_card
    assert finished.artifact.data_card.startswith("# Data card\n")
    assert "| only 1 | 0 | 12 | 12 | 6 |" in finished.artifact.data_card
    assert "The split is by group, known for every image" in finished.artifact.data_card
    assert str(finished.manifest.root) not in finished.artifact.data_card


def test_a_reliability_diagram_is_drawn_into_the_run_folder(finished: FinishedRun) -> None:
    assert (finished.run / RELIABILITY).read_bytes().startswith(b"\x89PNG")


def test_measurements_on_the_test_part_are_counted(finished: FinishedRun, tmp_path: Path) -> None:
    assert "measured on the test part once" in finished.artifact.card
    run = finished.copy_run(tmp_path)
    second = export_tiny(run, finished.manifest, tmp_path / "models")
    assert "measured on the test part 2 times" in second.card
    third = export_tiny(run, finished.manifest, tmp_path / "models")
    assert "measured on the test part 3 times" in third.card


def test_a_sensitivity_and_prevalences_can_be_asked_for(finished: FinishedRun, tmp_path: Path) -> None:
    run = finished.copy_run(tmp_path)
    asked = export_tiny(run, finished.manifest, tmp_path / "models", sensitivity=1.0, prevalences=(0.02,))
    metadata = asked.metadata
    assert "sensitivity of at least 1 there, as was asked for" in metadata.threshold_rule
    choice = metadata.metrics["threshold_choice"]
    assert (choice["asked"], choice["sensitivity"]) == (1.0, 1.0)
    validation = metadata.metrics["validation"]["metrics"]
    assert validation["sensitivity"]["value"] == 1
    assert validation["specificity"]["value"] == pytest.approx(choice["specificity"])
    assert [of["prevalence"] for of in metadata.metrics["test"]["predictive_values"]] == [0.02]
    assert "\n| 2 % | " in asked.card
    assert metadata.threshold_rule in asked.card


def test_what_is_no_prevalence_is_refused_before_anything_is_measured(finished: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="The prevalence is 2"):
        export_tiny(finished.run, finished.manifest, tmp_path, prevalences=(2.0,))
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_which_layers_learn_and_how_the_rate_falls() -> None:
    config = read_recipe(RECIPES / "original.toml")
    first, second = (stage_text(stage, config) for stage in config.stages)
    assert "at 224 pixels, aspect ratio not kept, the head alone; adam, learning rate 0.001 to 1e-06; " in first
    assert (
        "the head and the last 54 layers of the backbone save batch normalisation; "
        "adam, learning rate 0.001 to 1e-06, times 0.8 on a plateau; " in second
    )


def test_what_was_exported_of_a_run_is_found_again_and_not_taken_for_another_runs(
    finished: FinishedRun, tmp_path: Path
) -> None:
    """The same configuration and data elsewhere, in another precision say, give another model."""
    theirs = finished.artifact.path.parent.parent
    run = shutil.copytree(finished.run, tmp_path / "run", ignore=shutil.ignore_patterns("exported.json"))
    assert find_exported(run, theirs) is None
    exported = export_tiny(run, finished.manifest, tmp_path / "models")
    found = find_exported(run, tmp_path / "models")
    assert found
    assert (found.path, found.digest) == (exported.path, exported.digest)
    assert find_exported(run, theirs) is None


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, "224x224 grey, 0..1, aspect ratio not kept (preprocessing version 1)"),
        (2, "224x224 grey, 0..1, centre square (preprocessing version 2)"),
    ],
)
def test_the_card_says_what_the_model_sees_of_an_image(version: int, words: str, finished: FinishedRun) -> None:
    metadata = finished.artifact.metadata.model_copy(update={"preprocessing_version": version})
    assert words in model_card(metadata, read_facts(finished.artifact.path))


def test_the_card_names_no_weights_file(finished: FinishedRun) -> None:
    """The card goes with the model, to whoever asks the service for it."""
    config = finished.config.model_copy(update={"weights": "/home/somebody/of-ward-nine.h5"})
    parts = split(finished.manifest, config.split_seed)
    facts = gather_facts(finished.artifact.metadata, config, finished.manifest, parts, 1)
    assert "initial weights: a file, " in facts.network
    assert "ward-nine" not in facts.model_dump_json()


def test_a_second_export_gets_the_next_version(finished: FinishedRun, tmp_path: Path) -> None:
    first = tmp_path / "other" / "1"
    shutil.copytree(finished.artifact.path, first)
    (tmp_path / "other" / "notes").mkdir()
    second = export_tiny(finished.run, finished.manifest, tmp_path, "other")
    assert second.path == tmp_path / "other" / "2"
    assert (second.metadata.name, second.metadata.version) == ("other", 2)
    assert open_artifact(tmp_path / "other").path == second.path
    assert sorted(path.name for path in first.parent.iterdir()) == ["1", "2", "notes"]
    for field in ("metrics", "temperature", "threshold", "tolerances", "config_digest", "data_digest"):
        assert getattr(second.metadata, field) == getattr(finished.artifact.metadata, field)


def test_a_run_in_mixed_precision_is_exported_in_float32(finished: FinishedRun, tmp_path: Path) -> None:
    config = finished.config.model_copy(update={"recipe": "mine"})
    manifest, run = finished.manifest, tmp_path / "run"
    trained = fit(manifest, config, run, Execution(precision="mixed_bfloat16"))
    artifact = export_tiny(run, manifest, tmp_path / "models")
    assert artifact.metadata.recipe == "mine"

    parts = split(manifest, config.split_seed)
    images = to_network_input(load_squares(manifest.root, parts.test, preprocessing=1))
    model = load_best(run, config)
    assert model.get_layer("backbone").compute_dtype == "float32"
    served = load_engine("openvino", artifact).infer(images).probabilities
    logits = logits_of(model, images)
    calibrated = softmax(logits / CALIBRATION.temperature + [0, CALIBRATION.bias], axis=1)
    np.testing.assert_allclose(served, calibrated, atol=1e-5)
    np.testing.assert_allclose(np.asarray(trained(images)), softmax(logits, axis=1), atol=0.02)


def test_other_data_are_refused(finished: FinishedRun, tmp_path: Path) -> None:
    shutil.copytree(finished.manifest.root, tmp_path / "data")
    (tmp_path / "data/0/g00-0.png").unlink()
    with pytest.raises(TrainingError, match="trained on other data"):
        export_tiny(finished.run, read_manifest(tmp_path / "data"), tmp_path / "models")


def test_an_unfinished_run_is_refused(finished: FinishedRun, tmp_path: Path) -> None:
    run = finished.copy_run(tmp_path)
    (run / "stage-1.done").unlink()
    with pytest.raises(TrainingError, match="no finished training"):
        export_tiny(run, finished.manifest, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def break_card(*_: Any) -> str:
    raise OSError(28, "No space left on device")


def answer_otherwise(module: Any) -> Callable[[np.ndarray], Any]:
    infer = INFER_OF(module)

    def wrong(images: np.ndarray) -> Outputs:
        outputs = infer(images)
        return Outputs(outputs.probabilities, outputs.heatmap, outputs.features + 1)

    return wrong


INFER_OF = training.export._infer_of


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        ("write_card", break_card, "No space left"),
        ("_infer_of", answer_otherwise, "does not reproduce"),
    ],
    ids=["disk full at the end", "the saved graph answers otherwise"],
)
def test_a_failed_export_leaves_nothing_under_a_models_name(
    name: str, broken: object, message: str, finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.export, name, broken)
    with pytest.raises((OSError, ArtifactError), match=message):
        export_tiny(finished.run, finished.manifest, tmp_path)
    assert list(tmp_path.glob("*/*")) == []


def test_every_file_is_listed_and_nothing_is_left_beside(finished: FinishedRun) -> None:
    folder = finished.artifact.path
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == finished.artifact.metadata.files.keys() | {METADATA}
    assert {MODEL_CARD, DATA_CARD, FACTS, SEEN} <= files
    assert [path.name for path in folder.parent.iterdir()] == ["1"]
