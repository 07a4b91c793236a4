"""Recipes cross-validated by group: trained, cut off and resumed, measured on what each fold held out, compared."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.crossvalidation.run
import training.evaluate
import training.fit
from app.errors import Diverged, TrainingError
from tests.training.fixtures import compile_eagerly
from tests.training.test_resume import CutOff, stop_here
from tests.training.tiny import CONFIG, TINY, cut_off_at, make_data
from training.alterations import cover_lungs
from training.backbones import BACKBONES
from training.calibration import Calibration
from training.config import FitConfig
from training.crossvalidation.run import Plan, crossvalidate
from training.dataset import XrayDataset, one_hot
from training.evaluate import fit_threshold
from training.export import export
from training.fit import load_best
from training.manifest import Manifest
from training.network import logits_of
from training.splits import development, folds, split
from training.squares import load_squares

pytestmark = pytest.mark.usefixtures("tiny_backbone", "eager")

FIRST = CONFIG.model_copy(update={"recipe": "first", "stages": CONFIG.stages[:1]})
SECOND = FIRST.model_copy(update={"recipe": "second", "preprocessing": 2})
PLAN = Plan((FIRST, SECOND), count=2)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """With COVID-19 all are taken AP, without it those of the groups 3 and 13."""
    manifest = make_data(tmp_path_factory.mktemp("data") / "data", groups=14)
    return replace(
        manifest,
        records=tuple(replace(r, view="AP" if r.label or r.group.endswith("3") else "PA") for r in manifest.records),
    )


@pytest.fixture(scope="module")
def crossvalidated(images: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes in two folds; must not be changed."""
    out = tmp_path_factory.mktemp("crossvalidated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "NASNetMobile", TINY)
        patch.setattr(training.fit, "_compile", compile_eagerly)
        patch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)
        crossvalidate(images, PLAN, out, "python -m training crossvalidate")
    return out


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.crossvalidation.run, "fit", lambda *_, **__: pytest.fail("trained again"))


def predictions(out: Path, recipe: str = "first") -> list[dict[str, str]]:
    with (out / recipe / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def ablation(out: Path) -> Any:
    return json.loads((out / "ablation.json").read_text())


def test_every_image_of_development_is_answered_once_and_none_of_the_test_part(
    crossvalidated: Path, images: Manifest
) -> None:
    parts = split(images, FIRST.split_seed)
    for recipe in ("first", "second"):
        answered = [row["sha256"] for row in predictions(crossvalidated, recipe)]
        assert sorted(answered) == sorted(r.sha256 for r in (*parts.train, *parts.validation))


@pytest.mark.parametrize("recipe", [FIRST, SECOND], ids=["first", "second"])
def test_answers_are_those_of_the_fold_that_held_an_image_out(
    recipe: FitConfig, crossvalidated: Path, images: Manifest
) -> None:
    rows = {row["sha256"]: row for row in predictions(crossvalidated, recipe.recipe)}
    kept = development(images, recipe.split_seed)
    for number, parts in enumerate(folds(kept, recipe.split_seed, 2), start=1):
        model = load_best(crossvalidated / recipe.recipe / f"fold-{number}", recipe)

        def logits(records: Any, alter: Any = lambda squares: squares, model: Any = model) -> Any:
            squares = alter(load_squares(images.root, records, preprocessing=recipe.preprocessing))
            return logits_of(model, XrayDataset(squares, one_hot(records), recipe, training=False))

        labels = np.array([record.label for record in parts.validation])
        calibration = Calibration.fit(logits(parts.validation), labels)

        def probabilities(of: Any, by: Calibration = calibration) -> Any:
            return 1 / (1 + np.exp((of[:, 0] - of[:, 1]) / by.temperature - by.bias))

        threshold = fit_threshold(labels, probabilities(logits(parts.validation)))
        ours = [rows[record.sha256] for record in parts.test]
        assert {row["fold"] for row in ours} == {str(number)}
        for column, expected in {
            "probability": probabilities(logits(parts.test)),
            "lungs_covered": probabilities(logits(parts.test, cover_lungs)),
        }.items():
            np.testing.assert_allclose([float(row[column]) for row in ours], expected, atol=1e-4)
        np.testing.assert_allclose([float(row["threshold"]) for row in ours], threshold, atol=1e-4)


def test_answers_name_no_file(crossvalidated: Path, images: Manifest) -> None:
    text = (crossvalidated / "first/predictions.csv").read_text()
    assert not any(record.path in text for record in images.records)


def test_figures_are_of_the_pooled_answers(crossvalidated: Path) -> None:
    rows = predictions(crossvalidated)
    labels = np.array([int(row["label"]) for row in rows])
    right = np.array([float(row["probability"]) >= float(row["threshold"]) for row in rows]) == (labels == 1)
    measured = ablation(crossvalidated)
    first = measured["recipes"][0]
    assert first["metrics"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert set(measured["sources"]) == {"both"}
    assert "roc_auc within both" in first["metrics"]
    assert "roc_auc within both" in first["covered"]["borders only"]
    taken_ap = [row["group"].endswith("3") for row in rows if row["source"] == "both" and row["label"] == "0"]
    assert 0 < sum(taken_ap) < len(taken_ap)
    view_rule = measured["view_rules"]["both"]
    assert view_rule["value"] == pytest.approx(1 - sum(taken_ap) / len(taken_ap) / 2)
    assert f"AP or PA has a ROC AUC of {view_rule['value']:.3f} (" in (crossvalidated / "ablation.md").read_text()
    assert measured["images"] == {"non-COVID": int((labels == 0).sum()), "COVID-19": int((labels == 1).sum())}


def test_the_second_recipe_is_compared_with_the_first(crossvalidated: Path) -> None:
    first, second = ablation(crossvalidated)["recipes"]
    assert (first["changes"], first["differences"]) == ("", {})
    assert second["changes"] == "preprocessing is 1 there and 2 here"
    for name, difference in second["differences"].items():
        expected = second["metrics"][name]["value"] - first["metrics"][name]["value"]
        assert difference["value"] == pytest.approx(expected)
    text = (crossvalidated / "ablation.md").read_text()
    assert "| second | preprocessing is 1 there and 2 here |" in text
    assert "## Differences to first" in text


@pytest.mark.usefixtures("no_training")
def test_what_is_finished_is_not_trained_again(crossvalidated: Path, images: Manifest, tmp_path: Path) -> None:
    out = shutil.copytree(crossvalidated, tmp_path / "again")
    (out / "ablation.json").unlink()
    crossvalidate(images, PLAN, out, "python -m training crossvalidate")
    assert (out / "ablation.json").read_text() == (crossvalidated / "ablation.json").read_text()


def test_cut_off_in_a_fold_the_same_command_ends_as_an_uninterrupted_one(
    crossvalidated: Path, images: Manifest, tmp_path: Path
) -> None:
    alone = Plan((FIRST,), count=2)
    crossvalidate(images, Plan((FIRST,), count=2, numbers=(1,)), tmp_path, "first fold")
    finished = (tmp_path / "first/fold-1/best.weights.h5").stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.fit, "EpochProgress", cut_off_at(0, 1, 0, stop_here))
        with pytest.raises(CutOff):
            crossvalidate(images, alone, tmp_path, "cut off")
    assert (tmp_path / "first/fold-2/state.npz").exists()
    crossvalidate(images, alone, tmp_path, "resumed")
    assert (tmp_path / "first/fold-1/best.weights.h5").stat().st_mtime_ns == finished
    ours, theirs = (
        np.array([float(row["probability"]) for row in predictions(out)]) for out in (tmp_path, crossvalidated)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_one_fold_is_measured_alone_and_the_page_says_so(images: Manifest, tmp_path: Path) -> None:
    page = crossvalidate(images, Plan((FIRST,), count=2, numbers=(2,)), tmp_path, "second fold")
    assert not (tmp_path / "first/fold-1").exists()
    assert "**1 of 2 folds** (2)" in page.read_text()
    assert {row["fold"] for row in predictions(tmp_path)} == {"2"}


def test_the_test_part_is_included_where_asked(images: Manifest, tmp_path: Path) -> None:
    page = crossvalidate(images, Plan((FIRST,), count=2, include_test=True), tmp_path, "all")
    assert sorted(row["sha256"] for row in predictions(tmp_path)) == sorted(r.sha256 for r in images.records)
    assert "no recipe may be chosen by these figures" in page.read_text()


def test_a_recipe_that_diverges_does_not_stop_the_others(images: Manifest, tmp_path: Path) -> None:
    train = training.crossvalidation.run.fit

    def diverge_first(manifest: Manifest, config: FitConfig, *rest: Any, **options: Any) -> Any:
        if config.recipe == "first":
            raise Diverged("first diverged")
        return train(manifest, config, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.crossvalidation.run, "fit", diverge_first)
        with pytest.raises(TrainingError, match="No fold of first is finished"):
            crossvalidate(images, PLAN, tmp_path, "diverges")
        patch.setattr(training.crossvalidation.run, "fit", lambda *_, **__: pytest.fail("trained again"))
        crossvalidate(images, Plan((SECOND,), count=2), tmp_path, "without it")
    assert len(predictions(tmp_path, "second")) == len(development(images, SECOND.split_seed).records)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan((FIRST, FIRST), count=2), "Two recipes are called first"),
        (Plan((FIRST, SECOND.model_copy(update={"split_seed": 8})), count=2), "split the data differently"),
        (Plan((FIRST,), count=2, numbers=(3,)), "There is no fold 3: they are numbered from 1 to 2"),
        (Plan((FIRST,), count=8), "This split needs at least 16 of each class"),
    ],
)
def test_what_cannot_be_is_refused_and_takes_no_folder(
    plan: Plan, message: str, images: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=message):
        crossvalidate(images, plan, tmp_path, "refused")
    assert list(tmp_path.iterdir()) == []


def test_other_folds_in_the_folder_are_refused(crossvalidated: Path, images: Manifest) -> None:
    with pytest.raises(TrainingError, match="include_test is False there and True here"):
        crossvalidate(images, Plan((FIRST,), count=2, include_test=True), crossvalidated, "all")


def test_a_changed_recipe_of_the_same_name_is_refused(crossvalidated: Path, images: Manifest, tmp_path: Path) -> None:
    out = shutil.copytree(crossvalidated, tmp_path / "again")
    changed = FIRST.model_copy(update={"label_smoothing": 0.1})
    with pytest.raises(TrainingError, match=r"label_smoothing is 0.05 there and 0.1 here"):
        crossvalidate(images, Plan((changed,), count=2), out, "changed")


def test_a_fold_cannot_be_exported(crossvalidated: Path, images: Manifest, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is a fold of a cross-validation"):
        export(crossvalidated / "first/fold-1", images, tmp_path)
