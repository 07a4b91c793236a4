"""The card follows from the measurements, and is written again with those that are made later."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import training.card_writing
from app.artifact import MODEL_CARD, SIGNATURE, Artifact, Metadata, open_artifact
from app.engines import load_engine
from app.errors import ArtifactError, TrainingError
from tests.training.fixtures import FinishedRun
from tests.training.tiny import export_tiny
from training.__main__ import app
from training.card import model_card
from training.card_facts import FACTS, CardFacts, read_facts
from training.card_measured import gate_section
from training.card_writing import rewrite_card
from training.export import find_exported

FIGURE = {"value": 0.875, "low": 0.8, "high": 0.9}
PROBE = {
    "part": "validation",
    "images": {"non-COVID": 4, "COVID-19": 5},
    "metrics": {"accuracy": FIGURE, "roc_auc": FIGURE, "roc_auc within north_1": FIGURE, "brier": FIGURE},
    "altered": {"lungs covered": {"metrics": {"roc_auc": FIGURE}, "differences": {}}},
    "sources_told": {"all": {"balanced_accuracy": FIGURE, "majority_balanced_accuracy": 0.5}},
}
ABLATION = {
    "include_test": False,
    "recipes": [
        {"name": "native", "changes": "", "metrics": {"accuracy": FIGURE}, "covered": {"borders only": {}}},
        {
            "name": "mine",
            "changes": "crop is 0 there and 1 here",
            "metrics": {"accuracy": FIGURE, "roc_auc": FIGURE},
            "covered": {"borders only": {"roc_auc": FIGURE}},
        },
    ],
}
GATE = {
    "command": "python -m training gate --data /srv/ward-nine",
    "images": "the test part, 40 radiographs",
    "radiographs": {"upright": {"images": 40, "right": 39, "low": 0.87, "high": 0.996, "said": {"accepted": 39}}},
    "negatives": {"photographs": {"images": 50, "right": 48, "low": 0.865, "high": 0.989, "said": {}}},
    "wrong_radiographs": [{"name": "1/hong-gildong.png", "kind": "upright", "said": "inverted_image"}],
}
EVERYTHING_IS_ANSWERED = "Anything that is not a frontal chest radiograph gets an answer too"


@pytest.fixture
def facts(finished: FinishedRun) -> CardFacts:
    return read_facts(finished.artifact.path)


@pytest.fixture
def copied(finished: FinishedRun, tmp_path: Path) -> Artifact:
    return open_artifact(shutil.copytree(finished.artifact.path, tmp_path / "models" / "tiny" / "1"))


def changed(metadata: Metadata, **test: Any) -> Metadata:
    """Change the figures of the test part."""
    metrics = {**metadata.metrics, "test": {**metadata.metrics["test"], **test}}
    return metadata.model_copy(update={"metrics": metrics})


def section(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_card_follows_from_metadata_and_facts_alone(finished: FinishedRun, facts: CardFacts) -> None:
    assert model_card(finished.artifact.metadata, facts) == finished.artifact.card


def test_the_shipped_models_card_is_what_its_measurements_give(shipped: Artifact) -> None:
    facts = read_facts(shipped.path)
    assert model_card(shipped.metadata, facts) == shipped.card
    assert all((facts.probe, facts.gate, facts.ablation, shipped.metadata.gate, shipped.data_card))


def test_without_a_gate_everything_is_answered_and_with_one_it_is_not(finished: FinishedRun, facts: CardFacts) -> None:
    metadata = finished.artifact.metadata.model_copy(update={"gate": None})
    without = model_card(metadata, facts)
    assert EVERYTHING_IS_ANSWERED in section(without, "Limits")
    assert "None: every image that can be decoded is answered." in section(without, "Input gate")
    assert "Input gate: none." in section(without, "At a glance")
    with_one = model_card(metadata, facts.model_copy(update={"gate": GATE}))
    assert EVERYTHING_IS_ANSWERED not in with_one
    assert "what passes it gets an answer" in section(with_one, "Limits")
    assert "| upright | 39 of 40 (97.5%) | 87.0% to 99.6% |" in section(with_one, "Input gate")
    assert "| photographs | 48 of 50 (96.0%) | 86.5% to 98.9% |" in section(with_one, "Input gate")
    assert "Input gate: yes." in section(with_one, "At a glance")
    assert "Let through, or named as what they were made to be" in section(finished.artifact.card, "Input gate")
    assert EVERYTHING_IS_ANSWERED not in finished.artifact.card


def test_the_gates_own_record_is_shown() -> None:
    record = {
        "fitted_on": {"radiographs": 1000, "turned": 3000},
        "distance_limit": 2.5,
        "validation": {"upright": {"images": 200, "as_expected": 199}},
        "test": {"upright": {"images": 300, "as_expected": 297}, "inverted": {"images": 40, "as_expected": 40}},
    }
    recorded = gate_section(record, None)
    assert "Fitted on 1,000 radiographs, 3,000 turned." in recorded
    assert "| upright | 199 of 200 (99.5%) | 297 of 300 (99.0%) |" in recorded
    assert "| inverted | none | 40 of 40 (100.0%) |" in recorded
    assert "- limit: 2.500" in gate_section({"limit": 2.5}, None)
    assert "- limit: 2.500" in gate_section(None, {"limit": 2.5})


def test_what_was_measured_later_has_its_section(finished: FinishedRun, facts: CardFacts) -> None:
    later = facts.model_copy(update={"probe": PROBE, "ablation": ABLATION})
    card = model_card(finished.artifact.metadata, later)
    shortcuts, figure = section(card, "Shortcuts"), "0.875 (0.800 to 0.900)"
    assert "images of the validation part (4 non-COVID and 5 COVID-19)" in shortcuts
    assert "| images | accuracy | ROC AUC | AUC within north_1 |" in shortcuts
    assert f"| as they are | {figure} | {figure} | {figure} |" in shortcuts
    assert f"| lungs covered | not estimable | {figure} | not estimable |" in shortcuts
    assert f"| all | {figure} | 0.500 |" in shortcuts
    assert f"Shortcuts: ROC AUC with lungs covered {figure}." in section(card, "At a glance")
    ablation = section(card, "Ablation")
    assert "| recipe | accuracy | ROC AUC | ROC AUC, borders only |" in ablation
    assert f"| mine | {figure} | {figure} | {figure} |" in ablation
    assert "- mine: crop is 0 there and 1 here." in ablation
    assert "## Ablation" not in finished.artifact.card
    assert "Not probed" in section(finished.artifact.card, "Shortcuts")


def test_what_the_view_alone_is_worth_stands_beside_the_recipes(finished: FinishedRun, facts: CardFacts) -> None:
    inside = [FIGURE | {"value": value} for value in (0.62, 0.55, 0.7)]
    recipes = [{"name": str(of), "metrics": {"accuracy": FIGURE, "roc_auc within north_1": of}} for of in inside]
    measured = {"recipes": recipes, "view_rules": {"north_1": FIGURE}}
    card = model_card(finished.artifact.metadata, facts.model_copy(update={"ablation": measured}))
    rule = "- Within north_1 a rule that knows only whether a radiograph was taken AP or PA has a ROC AUC of 0.875 ("
    [line] = [line for line in section(card, "At a glance").splitlines() if line.startswith(rule)]
    assert line.endswith("; cross-validated, recipes have 0.550 to 0.700 there.")
    assert f"{rule[2:]}0.800 to 0.900)." in section(card, "Ablation")


def test_measurements_of_another_form_are_shown_whole(finished: FinishedRun, facts: CardFacts) -> None:
    later = facts.model_copy(update={"probe": {"score": 0.25}, "ablation": {"crop": {"accuracy": 0.91}}})
    card = model_card(finished.artifact.metadata, later)
    assert "- score: 0.250" in section(card, "Shortcuts")
    assert "| crop | 0.910 |" in section(card, "Ablation")
    assert "Shortcuts: probed, see below." in section(card, "At a glance")


@pytest.mark.parametrize("other", [{"model": "other"}, {"version": 7}, {"data_digest": "0"}])
def test_measurements_of_another_model_are_refused(other: dict[str, Any], copied: Artifact) -> None:
    with pytest.raises(TrainingError, match="The probe is of another model"):
        rewrite_card(copied.path, {"probe": PROBE | other})
    rewrite_card(copied.path, {"probe": PROBE | {"model": copied.metadata.name, "model_digest": "an earlier card's"}})


def test_view_age_and_sex_are_rows_of_the_results(finished: FinishedRun, facts: CardFacts) -> None:
    figure = {"value": 0.75, "low": 0.5, "high": 0.875}
    few = {"images": {"non-COVID": 0, "COVID-19": 3}, "metrics": {"sensitivity": figure}}
    many = {"images": {"non-COVID": 0, "COVID-19": 12}, "metrics": {"sensitivity": figure}}
    card = model_card(changed(finished.artifact.metadata, views={"AP": many, "PA": few}, sexes={"F": many}), facts)
    results = section(card, "Results")
    assert "| view: AP | 0 | 12 | 0.750 (0.500 to 0.875) | not estimable | not estimable |" in results
    assert "| view: PA | 0 | 3 | too few images (3) | not estimable | not estimable |" in results
    assert "| sex: F | 0 | 12 |" in results
    assert "| age: not stated | " in results


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        ((0.03, 0.02, 0.045), "is reached."),
        ((0.03, 0.02, 0.08), "is reached, not beyond doubt"),
        ((0.09, 0.07, 0.11), "is missed."),
    ],
)
def test_the_aim_of_the_calibration_is_judged(
    error: tuple[float, float, float], verdict: str, finished: FinishedRun, facts: CardFacts
) -> None:
    metadata = finished.artifact.metadata
    measured = dict(zip(("value", "low", "high"), error, strict=True))
    metrics = {**metadata.metrics["test"]["metrics"], "expected_calibration_error": measured}
    card = model_card(changed(metadata, metrics=metrics), facts)
    assert f"the aim of at most 0.05 {verdict}" in card
    assert ("above the aim" in section(card, "At a glance")) == (verdict == "is missed.")


@pytest.mark.parametrize(("area", "warned"), [(0.97, False), (0.98, True)])
def test_a_figure_too_good_is_warned_of_first(
    area: float, warned: bool, finished: FinishedRun, facts: CardFacts
) -> None:
    metadata = finished.artifact.metadata
    metrics = {**metadata.metrics["test"]["metrics"], "roc_auc": {"value": area, "low": 0.9, "high": 0.99}}
    glance = section(model_card(changed(metadata, metrics=metrics), facts), "At a glance")
    assert ("a warning and no achievement" in glance) == warned


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["card", *map(str, arguments)])


def test_the_command_writes_the_card_again_and_says_the_new_digest(copied: Artifact, tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text(json.dumps(PROBE))
    (tmp_path / "gate.json").write_text(json.dumps(GATE))
    first = run("--model", copied.path.parent, "--probe", tmp_path / "probe.json")
    assert first.exit_code == 0, first.stderr
    second = run("--model", copied.path, "--gate", tmp_path / "gate.json")
    assert second.exit_code == 0, second.stderr
    after = open_artifact(copied.path)
    assert second.stdout.splitlines() == [str(copied.path / MODEL_CARD), f"digest {after.digest}"]
    assert f"The digest was {first.stdout.split()[-1]}." in second.stderr
    assert "lungs covered" in after.card
    assert "photographs" in after.card
    kept = (copied.path / FACTS).read_text() + after.card
    assert "hong-gildong" not in kept
    assert "ward-nine" not in kept
    assert after.card == model_card(after.metadata, read_facts(after.path))
    assert after.digest != copied.digest
    assert after.metadata.model_copy(update={"files": {}}) == copied.metadata.model_copy(update={"files": {}})
    assert [path.name for path in copied.path.parent.iterdir()] == ["1"]
    differing = {name for name, digest in copied.metadata.files.items() if after.metadata.files[name] != digest}
    assert differing == {MODEL_CARD, FACTS}
    load_engine("openvino", after)  # Still reproduces the golden outputs.


def test_without_measurements_the_same_card_is_written_and_no_digest_changes(copied: Artifact) -> None:
    result = run("--model", copied.path)
    assert result.exit_code == 0, result.stderr
    assert (result.stdout.splitlines()[1], result.stderr) == (f"digest {copied.digest}", "")


def test_a_signature_is_removed_as_it_is_of_the_earlier_card(copied: Artifact) -> None:
    (copied.path / SIGNATURE).write_bytes(bytes(64))
    rewrite_card(copied.path, {"probe": PROBE})
    assert not (copied.path / SIGNATURE).exists()


def test_a_run_still_finds_its_export_after_the_card_was_written_again(
    finished: FinishedRun, tiny_backbone: None, tmp_path: Path
) -> None:
    run, models = finished.copy_run(tmp_path), tmp_path / "models"
    exported = export_tiny(run, finished.manifest, models)
    rewritten = rewrite_card(models / "nasnetmobile", {"probe": PROBE})
    found = find_exported(run, models)
    assert found
    assert found.digest == rewritten.digest != exported.digest


def test_a_card_that_cannot_be_written_leaves_the_artifact_as_it_was(
    copied: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.card_writing, "model_card", full)
    with pytest.raises(OSError, match="No space left"):
        rewrite_card(copied.path, {"probe": PROBE})
    assert open_artifact(copied.path).digest == copied.digest
    assert [path.name for path in copied.path.parent.iterdir()] == ["1"]


def test_a_folder_of_an_earlier_try_is_not_overwritten(copied: Artifact) -> None:
    copied.path.with_name(".1.earlier").mkdir()
    with pytest.raises(TrainingError, match="is left of an earlier try"):
        rewrite_card(copied.path, {"probe": PROBE})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ("[1]", "holds no measurements"),
        ("{}", "holds no measurements"),
    ],
)
def test_a_file_without_measurements_is_refused(
    content: str | None, message: str, copied: Artifact, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "probe.json").write_text(content)
    result = run("--model", copied.path, "--probe", tmp_path / "probe.json")
    assert result.exit_code == 1
    assert f"error: {tmp_path / 'probe.json'} {message}" in result.stderr
    assert open_artifact(copied.path).digest == copied.digest


def test_an_artifact_without_facts_is_told_to_be_exported_again(copied: Artifact) -> None:
    (copied.path / FACTS).unlink()
    training.card_writing.write_metadata(copied.path, copied.metadata)
    with pytest.raises(TrainingError, match="Export it again"):
        rewrite_card(copied.path, {"probe": PROBE})


def test_a_damaged_artifact_is_refused(copied: Artifact) -> None:
    (copied.path / MODEL_CARD).write_text("Edited by hand.")
    with pytest.raises(ArtifactError, match="is damaged"):
        rewrite_card(copied.path, {"probe": PROBE})
