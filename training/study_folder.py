"""What a study leaves behind: its folder, read into what a report is made from.

A study folder holds ``study.json`` (its runs), ``environment.json`` (where and by which commands they were trained),
``runs/<recipe>/<backbone>/<seed>`` (a run folder each, see ``training.fit``, with its ``answers.npz``, or
``diverged.json`` where it has none to give), ``cache/`` (preprocessed squares, shared) and ``report/``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import Diverged, TrainingError
from training.answers import answer
from training.atomic import reading, replacing
from training.calibration import Calibration
from training.checkpoint import read_history
from training.claim import DataIdentity, claim, differences
from training.config import RECIPES, FitConfig, StudyConfig, read_recipe
from training.environment import training_environment
from training.evaluate import THRESHOLD_RULE, fit_threshold
from training.fit import has_begun, load_best, read_execution
from training.manifest import POSITIVE, Manifest, Record
from training.network import Network
from training.properties import measure_trivial_rules
from training.results import Answers, Evidence, Look, TrainedModel
from training.splits import Split, limit_images, split
from training.squares import load_squares, network_inputs
from training.timing import read_timings

WINNER_RULE: Final = (
    "the recipe and backbone with the highest accuracy on validation, the larger uncalibrated probability winning, "
    "in the mean over the seeds; among equals that with the lowest cross-entropy there"
)
"""The original study's measure, on validation where the study took the test part."""

_DIVERGED: Final = "diverged.json"


@dataclass(frozen=True, slots=True)
class Study:
    """A study folder that was read, with its data.

    Attributes:
        folder: Where it is.
        config: Its runs.
        manifest: The data, limited as the study is.
        parts: Their split.
    """

    folder: Path
    config: StudyConfig
    manifest: Manifest
    parts: Split

    @property
    def cache(self) -> Path:
        """Return the folder of preprocessed squares."""
        return self.folder / "cache"

    def run_folder(self, run: FitConfig) -> Path:
        """Return the folder of one of the runs."""
        return self.folder / "runs" / run.name

    def has_ended(self, run: FitConfig) -> bool:
        """Say whether a run needs no more training: it has answered, or diverged."""
        return (self.run_folder(run) / "answers.npz").exists() or self.has_diverged(run)

    def has_diverged(self, run: FitConfig) -> bool:
        """Say whether a run was given up."""
        return (self.run_folder(run) / _DIVERGED).exists()


def open_study(folder: Path, manifest: Manifest, config: StudyConfig | None = None) -> Study:
    """Open a study folder.

    Args:
        folder: New or of the same study, if ``config`` is given; otherwise one that ``study`` made. Nothing is written.
        manifest: All of the data folder.
        config: What the study is to be.

    Raises:
        TrainingError: The folder is of another study, or of none, a run in it was begun on other data, or the data
            cannot be split.
    """
    path = folder / "study.json"
    if not config and not path.exists():
        raise TrainingError(f"{folder} is not a study folder: study.json is missing. 'study' makes one.")
    if config and path.exists():
        claim(path, config)
    with reading(path):
        of = config or StudyConfig.model_validate_json(path.read_text(encoding="utf-8"))
    opened = Study(folder, of, *_limit_and_split(manifest, of))
    for run in map(opened.run_folder, of.runs):
        if has_begun(run):  # Otherwise answers of finished runs would be held against the labels of other images.
            claim(run / "data.json", DataIdentity(manifest=opened.manifest.digest))
    return opened


def _limit_and_split(manifest: Manifest, config: StudyConfig) -> tuple[Manifest, Split]:
    seed = config.runs[0].split_seed
    limited = limit_images(manifest, config.limit, seed)
    try:
        return limited, split(limited, seed)
    except TrainingError as error:
        if limited is manifest:
            raise
        raise TrainingError(f"With --limit {config.limit}: {error} Raise the limit.") from error


def mark_diverged(study: Study, run: FitConfig, error: Diverged) -> None:
    """Note that a run was given up, and why."""
    with replacing(study.run_folder(run) / _DIVERGED) as file:
        file.write(json.dumps({"reason": str(error)}).encode())


def read_models(study: Study, runs: Sequence[FitConfig]) -> tuple[TrainedModel, ...]:
    """Read what runs of a study left behind, calibrated on validation; those that diverged left nothing.

    Raises:
        TrainingError: A run is not finished, or all diverged.
    """
    models = tuple(_trained_model(study, run) for run in runs if not study.has_diverged(run))
    if not models:
        raise TrainingError(f"Every run of {study.folder} diverged: {', '.join(run.name for run in runs)}.")
    return models


def read_evidence(study: Study) -> Evidence:
    """Gather what a report on a trained study is made from.

    Raises:
        TrainingError: A run is not finished.
    """
    models = read_models(study, study.config.runs)
    winner = choose_winner(models)
    environment, command = _read_environment(study.folder)
    return Evidence(
        title=f"{', '.join(dict.fromkeys(run.backbone for run in study.config.runs))} on chest X-rays: COVID-19 and "
        "non-COVID",
        command=command,
        manifest=study.manifest,
        split=study.parts,
        models=models,
        winner=winner,
        winner_rule=WINNER_RULE,
        environment=environment,
        trivial_rules=_trivial_rules(study, models[winner].run.preprocessing),
        trivial_rules_fitted_on="validation",
        look=_look(study, models[winner]),
        limit=study.config.limit,
        notes=(*_diverged(study), *_changed_recipes(study.config.runs)),
    )


def _trivial_rules(study: Study, preprocessing: int) -> dict[str, dict[str, float]]:
    root, parts = study.manifest.root, study.parts
    validation, test = (
        (records, load_squares(root, records, study.cache, preprocessing=preprocessing))
        for records in (parts.validation, parts.test)
    )
    return measure_trivial_rules(root, validation, test)


def _diverged(study: Study) -> list[str]:
    return [
        f"{run.name} diverged and is left out: its validation loss was never a number."
        for run in study.config.runs
        if study.has_diverged(run)
    ]


def _changed_recipes(runs: Sequence[FitConfig]) -> list[str]:
    """Say where a run has the name of a recipe that ships, and not its values."""
    notes = []
    for run in runs:
        path = RECIPES / f"{run.recipe}.toml"
        if path.exists():
            shipped = read_recipe(path, backbone=run.backbone, seed=run.seed)
            changed = differences(shipped, run.model_copy(update={"weights": run.initial_weights}))
            if changed:
                notes.append(f"{run.recipe} of {run.backbone} is not the recipe as it ships ('there'): {changed}.")
    return list(dict.fromkeys(notes))


def choose_winner(models: Sequence[TrainedModel]) -> int:
    """Return the index of the winner: of the best recipe and backbone on validation, the best seed."""
    scores = [_score(model) for model in models]
    of_kind: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for model, score in zip(models, scores, strict=True):
        of_kind.setdefault((model.recipe, model.backbone), []).append(score)
    means = {kind: tuple(np.mean(kind_scores, axis=0)) for kind, kind_scores in of_kind.items()}
    best = max(means, key=lambda kind: means[kind])
    candidates = [i for i, model in enumerate(models) if (model.recipe, model.backbone) == best]
    return max(candidates, key=lambda i: scores[i])


def find_run(study: Study, backbone: str | None = None, recipe: str | None = None) -> FitConfig:
    """Return the winner, or the winner among the runs of a backbone, or of a recipe, which must be finished.

    Raises:
        TrainingError: There is none.
    """
    asked = {"backbone": backbone, "recipe": recipe}
    wanted = {name: value for name, value in asked.items() if value is not None}
    runs = [run for run in study.config.runs if all(getattr(run, name) == value for name, value in wanted.items())]
    if not runs:
        there = ", ".join(run.name for run in study.config.runs)
        raise TrainingError(f"{study.folder} has no run of {' and '.join(wanted.values())}. It has: {there}.")
    models = read_models(study, runs)
    return models[choose_winner(models)].run


def _score(model: TrainedModel) -> tuple[float, float]:
    """Return how many the larger uncalibrated probability is right for, and minus the calibrated cross-entropy.

    Counts, as means of accuracies that are equal may differ in their last digit.
    """
    validation = model.parts["validation"]
    right = (validation.probabilities >= model.calibration.even) == (validation.labels == POSITIVE)
    of_label = np.where(validation.labels == POSITIVE, validation.probabilities, 1 - validation.probabilities)
    return float(right.sum()), float(np.log(np.maximum(of_label, 1e-7)).mean())


def _trained_model(study: Study, run: FitConfig) -> TrainedModel:
    folder = study.run_folder(run)
    if not (folder / "answers.npz").exists():
        raise TrainingError(f"{folder} is not finished. Run the same 'study' again: it goes on there.")
    answers = answer(folder, run, study.manifest, study.parts, study.cache)
    labels = np.array([record.label for record in study.parts.validation])
    calibration = Calibration.fit(answers.validation, labels)
    parts = {
        "validation": Answers(study.parts.validation, calibration.probabilities(answers.validation).astype(np.float32)),
        "test": Answers(study.parts.test, calibration.probabilities(answers.test).astype(np.float32)),
    }
    return TrainedModel(
        recipe=run.recipe,
        backbone=run.backbone,
        seed=run.seed,
        parts=parts,
        calibration=calibration,
        threshold=fit_threshold(labels, parts["validation"].probabilities),
        threshold_rule=THRESHOLD_RULE,
        parameter_count=answers.parameter_count,
        config=run,
        execution=read_execution(folder),
        history=tuple(read_history(folder / f"history-{number}.csv") for number in range(len(run.stages))),
        timings=read_timings(folder / "timing.json"),
        structure=answers.structure,
    )


def _look(study: Study, winner: TrainedModel) -> Look:
    def look(records: Sequence[Record]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        squares = load_squares(study.manifest.root, records, preprocessing=winner.run.preprocessing)
        network = Network(load_best(study.run_folder(winner.run), winner.run), winner.calibration)
        heatmaps = [np.asarray(network.outputs(images)["heatmap"]) for images in network_inputs(squares)]
        return squares, np.concatenate(heatmaps)

    return look


def record_environment(folder: Path, command: str) -> None:
    """Note where the training goes on, beside where it has been."""
    path = folder / "environment.json"
    entry = {"command": command, "environment": training_environment()}
    entries = _read_entries(path) if path.exists() else []
    if entry not in entries:
        with replacing(path) as file:
            file.write(json.dumps([*entries, entry], indent=1).encode())


def _read_entries(path: Path) -> list[dict[str, Any]]:
    with reading(path):
        return list(json.loads(path.read_text(encoding="utf-8")))


def _read_environment(folder: Path) -> tuple[dict[str, str], str]:
    """Return the environments as one, a value for each that was different, and the first command."""
    entries = _read_entries(folder / "environment.json")
    names = dict.fromkeys(name for entry in entries for name in entry["environment"])
    merged = {
        name: "; then ".join(dict.fromkeys(entry["environment"].get(name, "absent") for entry in entries))
        for name in names
    }
    return merged, entries[0]["command"]
