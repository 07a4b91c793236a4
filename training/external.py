"""An exported model on anybody's own folder: external validation, through the engines that serve."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.artifact import Artifact, open_artifact
from app.engines import Engine, EngineName, load_engine
from app.errors import TrainingError
from app.gate import Gate
from training.calibration import Calibration
from training.environment import library_versions, processor
from training.images import map_images
from training.manifest import POSITIVE, Manifest, Record, count_by_class, count_classes
from training.properties import measure_trivial_rules
from training.results import Answers, Evidence, Look, TrainedModel
from training.seen import count_seen
from training.squares import infer_squares, load_squares


def evaluate(model: Path, manifest: Manifest, engine: EngineName, command: str) -> Evidence:
    """Ask an exported model about the images of a folder, as its service would by default.

    Threshold and calibration are the artifact's; nothing is fitted to the folder. Images that the model's input gate
    refuses get no answer: they are counted, and in no figure.

    Args:
        model: ``models/<name>/<version>``, or ``models/<name>`` for its highest version.
        manifest: The folder; one of its classes may be empty.
        engine: Which engine.
        command: As it was typed, for the record.

    Raises:
        ArtifactError: The model is missing, damaged, or does not reproduce its golden outputs.
        TrainingError: Images cannot be read, which the message names, or the input gate refuses all.
    """
    artifact = open_artifact(model)
    loaded = load_engine(engine, artifact)
    manifest, squares, probabilities, refused = _ask(artifact, loaded, manifest)
    metadata, seen = artifact.metadata, count_seen(artifact, manifest)
    return Evidence(
        title=f"Evaluation of the model {metadata.name}, version {metadata.version}",
        command=command,
        manifest=manifest,
        split=None,
        models=(_model(artifact, manifest, probabilities),),
        winner=0,
        winner_rule="",
        environment={
            "engine": loaded.description,
            "processor": processor(),
            "model digest": artifact.digest,
            **library_versions(),
        },
        trivial_rules=_trivial_rules(manifest, squares),
        trivial_rules_fitted_on="the same images",
        look=_look(artifact, loaded, manifest),
        notes=_notes(seen, refused, manifest),
        refused=refused,
        seen_images=seen,
    )


def _ask(
    artifact: Artifact, engine: Engine, manifest: Manifest
) -> tuple[Manifest, NDArray[np.uint8], NDArray[np.float32], dict[str, int] | None]:
    """Answer the images that the input gate lets through.

    Returns:
        The folder with these alone; their squares, uint8 (N, S, S); their probabilities, float32 (N, 2); and how many
        were refused by class, None where the model has no gate.
    """
    records, gate = manifest.records, Gate.load(artifact)
    squares = load_squares(manifest.root, records, preprocessing=artifact.metadata.preprocessing_version)
    outputs = infer_squares(engine.infer, squares)
    if gate is None:
        return manifest, squares, outputs.probabilities, None
    coloured = map_images(manifest.root, records, lambda image: image.coloured)
    images = zip(squares, outputs.features, coloured, strict=True)
    through = np.array([gate.inspect(*image) is None for image in images])
    if not through.any():
        raise TrainingError(
            f"The model's input gate refuses all {len(records):,} images of {manifest.root}: none is an upright "
            "frontal chest radiograph like those that it was trained on. 'python -m training gate' says why."
        )
    kept = tuple(record for record, passes in zip(records, through, strict=True) if passes)
    refused = [record for record, passes in zip(records, through, strict=True) if not passes]
    counts = count_by_class(refused)
    return replace(manifest, records=kept), squares[through], outputs.probabilities[through], counts


def _model(artifact: Artifact, manifest: Manifest, probabilities: NDArray[np.float32]) -> TrainedModel:
    metadata = artifact.metadata
    return TrainedModel(
        recipe=metadata.recipe,
        backbone=metadata.backbone,
        seed=None,
        parts={"all": Answers(manifest.records, probabilities[:, POSITIVE])},
        calibration=Calibration.of(metadata),
        threshold=metadata.threshold,
        threshold_rule=f"{metadata.threshold_rule}; of the data that the model was exported with, not of these",
        parameter_count=metadata.parameter_count,
    )


def _trivial_rules(manifest: Manifest, squares: NDArray[np.uint8]) -> Mapping[str, Mapping[str, float]]:
    """Measure the rules on the images they are made from, which favours them; none where a class is missing."""
    if 0 in count_classes(manifest.records):
        return {}
    images = manifest.records, squares
    return measure_trivial_rules(manifest.root, images, images)


def _look(artifact: Artifact, engine: Engine, manifest: Manifest) -> Look:
    def look(records: Sequence[Record]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        squares = load_squares(manifest.root, records, preprocessing=artifact.metadata.preprocessing_version)
        return squares, infer_squares(engine.infer, squares).heatmap

    return look


def _notes(seen: int, refused: Mapping[str, int] | None, manifest: Manifest) -> tuple[str, ...]:
    notes = []
    if seen:
        notes.append(
            f"{seen:,} of these {len(manifest.records):,} images are among the data that the model was trained on: "
            "it has seen them, and the figures say nothing about new ones. Those of its test part are in its model "
            "card."
        )
    if refused and sum(refused.values()):
        counted = " and ".join(f"{count:,} {label}" for label, count in refused.items())
        notes.append(f"{counted} more images were refused by the model's input gate: they are in no figure here.")
    return tuple(notes)
