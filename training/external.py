"""An exported model on anybody's own folder: external validation, through the engines that serve."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.artifact import Artifact, open_artifact
from app.engines import Engine, EngineName, load_engine
from training.environment import library_versions, processor
from training.manifest import POSITIVE, Manifest, Record, count_classes
from training.properties import measure_trivial_rules
from training.results import Answers, Evidence, Look, TrainedModel
from training.seen import count_seen
from training.squares import load_squares, network_inputs


def evaluate(model: Path, manifest: Manifest, engine: EngineName, command: str) -> Evidence:
    """Ask an exported model about every image of a folder.

    Threshold and temperature are the artifact's; nothing is fitted to the folder.

    Args:
        model: ``models/<name>/<version>``, or ``models/<name>`` for its highest version.
        manifest: The folder; one of its classes may be empty.
        engine: Which engine.
        command: As it was typed, for the record.

    Raises:
        ArtifactError: The model is missing, damaged, or does not reproduce its golden outputs.
        TrainingError: Images cannot be read; the message names them.
    """
    artifact = open_artifact(model)
    loaded = load_engine(engine, artifact)
    squares = load_squares(manifest.root, manifest.records, preprocessing=artifact.metadata.preprocessing_version)
    probabilities = np.concatenate([loaded.infer(images).probabilities for images in network_inputs(squares)])
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
        trivial_rules=_trivial_rules(artifact, manifest),
        trivial_rules_fitted_on="the same images",
        look=_look(artifact, loaded, manifest),
        notes=_notes(seen, manifest),
        seen_images=seen,
    )


def _model(artifact: Artifact, manifest: Manifest, probabilities: NDArray[np.float32]) -> TrainedModel:
    metadata = artifact.metadata
    return TrainedModel(
        recipe=metadata.recipe,
        backbone=metadata.backbone,
        seed=None,
        parts={"all": Answers(manifest.records, probabilities[:, POSITIVE])},
        temperature=metadata.temperature,
        threshold=metadata.threshold,
        threshold_rule=f"{metadata.threshold_rule}; of the data that the model was exported with, not of these",
        parameter_count=metadata.parameter_count,
    )


def _trivial_rules(artifact: Artifact, manifest: Manifest) -> Mapping[str, Mapping[str, float]]:
    """Measure the rules on the images they are made from, which favours them; none where a class is missing."""
    if 0 in count_classes(manifest.records):
        return {}
    preprocessing = artifact.metadata.preprocessing_version
    return measure_trivial_rules(manifest.root, manifest.records, manifest.records, preprocessing=preprocessing)


def _look(artifact: Artifact, engine: Engine, manifest: Manifest) -> Look:
    def look(records: Sequence[Record]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        squares = load_squares(manifest.root, records, preprocessing=artifact.metadata.preprocessing_version)
        return squares, np.concatenate([engine.infer(images).heatmap for images in network_inputs(squares)])

    return look


def _notes(seen: int, manifest: Manifest) -> tuple[str, ...]:
    if not seen:
        return ()
    return (
        f"{seen:,} of these {len(manifest.records):,} images are among the data that the model was trained on: it "
        "has seen them, and the figures say nothing about new ones. Those of its test part are in its model card.",
    )
