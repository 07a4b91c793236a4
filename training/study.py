"""The comparison of backbones, from the data folder to the report and the exported winner."""

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from app.artifact import Artifact
from app.errors import Diverged, TrainingError
from training.answers import answer
from training.backbones import build_model
from training.claim import claim
from training.config import FitConfig, StudyConfig
from training.environment import can_export
from training.fit import fit
from training.manifest import Manifest
from training.prevalence import PREVALENCES
from training.progress import many_networks
from training.report import write_report
from training.squares import load_squares
from training.study_folder import Study, mark_diverged, open_study, read_evidence, record_environment

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a study came to.

    Attributes:
        report: The file to read first.
        winner: Name of the run that won on validation.
        artifact: The winner as it is exported; None where TensorFlow, which exports, is not Keras' backend.
    """

    report: Path
    winner: str
    artifact: Artifact | None


def study(manifest: Manifest, config: StudyConfig, out: Path, models: Path, command: str) -> Outcome:
    """Train every run, compare them, report, and export the winner.

    What an earlier call with the same configuration finished is not done again.

    Args:
        manifest: The data set.
        config: The runs.
        out: The study folder.
        models: Where ``models/<name>/<version>`` of the winner is made.
        command: As it was typed, for the record.

    Raises:
        TrainingError: The folder is of another study, ImageNet weights cannot be had, or the winner cannot be exported
            (the report is written by then).
        ArtifactError: The winner's exported graph does not answer as the trained model does.
    """
    with many_networks():
        return _study(open_study(out, manifest, config), models, command)


def _study(opened: Study, models: Path, command: str) -> Outcome:
    train(opened, command)
    evidence = read_evidence(opened)
    report = write_report(evidence, opened.folder / "report")
    winner = evidence.models[evidence.winner]
    logger.info("The winner on validation is %s; the report is %s.", winner.name, report)
    try:
        artifact = _export_once(opened, winner.run, models) if can_export() else None
    except TrainingError as error:
        raise TrainingError(
            f"The report {report} is written, but the winner, {winner.name}, cannot be exported. {error}"
        ) from error
    return Outcome(report, winner.name, artifact)


def train(study: Study, command: str) -> None:
    """Train every run of a study that is not finished, and ask each model for its answers.

    A run that diverges is marked, and left out of the comparison; the others go on.

    Args:
        study: Whose runs.
        command: As it was typed, for the record.

    Raises:
        TrainingError: ImageNet weights cannot be had or images not be read (said before any training), or a run folder
            is of another run.
    """
    waiting = [run for run in study.config.runs if not study.has_ended(run)]
    check_weights(waiting)
    if waiting:
        _check_images(study)
    claim(study.folder / "study.json", study.config)  # Only now: what cannot begin takes no folder.
    if waiting:
        record_environment(study.folder, command)
    for number, run in enumerate(waiting, start=1):
        logger.info("run %d of %d: %s", number, len(waiting), run.name)
        try:
            fit(study.manifest, run, study.run_folder(run), study.config.execution, cache=study.cache)
            answer(study.run_folder(run), run, study.manifest, study.parts, study.cache)
        except Diverged as error:
            logger.warning("%s", error)
            mark_diverged(study, run, error)
        forget_models()


def export_run(
    study: Study,
    run: FitConfig,
    models: Path,
    name: str | None = None,
    *,
    int8: bool = False,
    sensitivity: float | None = None,
    prevalences: Sequence[float] = PREVALENCES,
) -> Artifact:
    """Export one run of a study, as ``training.export.export``."""
    from training.export import export

    folder = study.run_folder(run)
    return export(
        folder,
        study.manifest,
        models,
        name,
        study.cache,
        int8=int8,
        sensitivity=sensitivity,
        prevalences=prevalences,
    )


def _export_once(study: Study, run: FitConfig, models: Path) -> Artifact:
    from training.export import find_exported

    return find_exported(study.run_folder(run), models) or export_run(study, run, models)


def check_weights(runs: Sequence[FitConfig]) -> None:
    """Load the weights that the runs start from, so that the last backbone's are not found missing after hours.

    Raises:
        TrainingError: They cannot be had, or do not fit.
    """
    for run in {(run.backbone, run.weights): run for run in runs if run.weights != "random"}.values():
        build_model(run)
        forget_models()


def _check_images(study: Study) -> None:
    """Decode every image, so that none of the test part is found unreadable after hours; training reads the cache."""
    for preprocessing in {run.preprocessing for run in study.config.runs}:
        for records in study.parts.parts().values():
            load_squares(study.manifest.root, records, study.cache, preprocessing=preprocessing)


def forget_models() -> None:
    """Let go of the networks that were built so far."""
    keras.utils.clear_session()
    gc.collect()
