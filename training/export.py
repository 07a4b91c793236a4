"""A finished run to an artifact: calibrate, save, verify through the serving engine, measure, describe."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.artifact import (
    EXTRA,
    FORMAT_VERSION,
    GOLDEN,
    METADATA,
    MODEL_CARD,
    POSITIVE,
    Artifact,
    Infer,
    Metadata,
    Outputs,
    TensorSpec,
    file_digests,
    open_artifact,
)
from app.engines import load_engine
from app.errors import ArtifactError, TrainingError
from app.imaging import IMAGE_SIZE, PREPROCESSING_VERSION, to_network_input
from training.atomic import reading, replacing
from training.card import model_card
from training.config import FitConfig
from training.environment import git_commit, library_versions
from training.evaluate import THRESHOLD_RULE, describe, fit_temperature, fit_threshold
from training.fit import load_best, read_config, read_data_digest
from training.golden import TOLERANCES, make_golden
from training.graph import serving_module
from training.manifest import LABELS, Manifest, Record
from training.network import logits_of
from training.properties import measure_trivial_rules
from training.splits import split
from training.squares import load_squares, network_inputs

_EXPORTED: Final = "exported.json"
"""In a run folder: what was last exported of it."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Images of one split, ready to be measured."""

    records: tuple[Record, ...]
    squares: NDArray[np.uint8]
    labels: NDArray[np.int64]


def export(run: Path, manifest: Manifest, models: Path, name: str | None = None, cache: Path | None = None) -> Artifact:
    """Export a run's best epoch to ``models/<name>/<next version>``.

    Temperature and threshold are fitted on validation. The saved graph is read back by OpenVINO, must
    reproduce the golden outputs, and is what the metrics are measured with, those of the test part too.

    Args:
        run: A finished run folder.
        manifest: The data that the run was trained on.
        models: The folder of all models.
        name: Of the model; by default the backbone's in lower case.
        cache: Folder of preprocessed squares; by default in the run folder.

    Raises:
        TrainingError: The run is unfinished, or the data are others.
        ArtifactError: The exported graph does not answer as the trained model does.
    """
    config = read_config(run)
    if read_data_digest(run) != manifest.digest:
        raise TrainingError(
            f"{run} was trained on other data than {manifest.root} now holds. Export with the same data."
        )
    model = load_best(run, config)
    parts = split(manifest, config.split_seed)
    cache = cache or run / "cache"
    validation, test = _load(manifest, parts.validation, cache), _load(manifest, parts.test, cache)
    rules = measure_trivial_rules(manifest.root, validation.records, test.records, cache)
    temperature = fit_temperature(logits_of(model, to_network_input(validation.squares)), validation.labels)

    name = name or config.backbone.lower()
    number = _next_version(models / name)
    metadata = _metadata(name, number, config, manifest, model.count_params(), temperature)
    folder, final = models / name / f".{number}.partial", models / name / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _save(serving_module(model, temperature), folder)
        metadata = _measured(folder, metadata, validation, test, rules)
        (folder / MODEL_CARD).write_text(model_card(metadata, config, manifest, parts), encoding="utf-8")
        _write_metadata(folder, metadata)
        folder.rename(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Nothing is there any more once it has its name.
    artifact = open_artifact(final)
    with replacing(run / _EXPORTED) as file:
        file.write(json.dumps({"model": f"{name}/{number}", "digest": artifact.digest}).encode())
    return artifact


def _measured(
    folder: Path, metadata: Metadata, validation: _Part, test: _Part, rules: dict[str, dict[str, float]]
) -> Metadata:
    """Measure the saved graph through the serving engine, which checks the golden outputs first."""
    _write_metadata(folder, metadata)
    infer = load_engine("openvino", open_artifact(folder)).infer
    probabilities = _probabilities(infer, validation)
    threshold = fit_threshold(validation.labels, probabilities)
    metrics = {
        "validation": describe(validation.records, probabilities, threshold),
        "test": describe(test.records, _probabilities(infer, test), threshold),
        "trivial_rules": rules,
    }
    return metadata.model_copy(update={"threshold": threshold, "metrics": metrics})


def find_exported(run: Path, models: Path) -> Artifact | None:
    """Find what was last exported of this very run; None where nothing was, or where it is no longer there.

    An equal configuration is not enough: trained elsewhere, or in another precision, it gives another model.
    """
    note = run / _EXPORTED
    if not note.exists():
        return None
    with reading(note):
        exported = json.loads(note.read_text(encoding="utf-8"))
        path, digest = models / exported["model"], exported["digest"]
    try:
        artifact = open_artifact(path)
    except ArtifactError:
        return None
    return artifact if artifact.digest == digest else None


def _digest(config: FitConfig) -> str:
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def _load(manifest: Manifest, records: tuple[Record, ...], cache: Path) -> _Part:
    squares = load_squares(manifest.root, records, cache)
    return _Part(records, squares, np.array([r.label for r in records]))


def _next_version(folder: Path) -> int:
    taken = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    return max(taken, default=0) + 1


def _save(module: tf.Module, folder: Path) -> None:
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    (folder / "assets").rmdir()  # Empty: the graph reads no files.
    (folder / EXTRA).mkdir()
    make_golden(_infer_of(module)).save(folder / GOLDEN)
    (folder / MODEL_CARD).touch()  # Written when there are metrics to show.


def _infer_of(module: tf.Module) -> Infer:
    def infer(images: NDArray[np.float32]) -> Outputs:
        result = module.serve(tf.constant(images))
        return Outputs(*(result[name].numpy() for name in ("probabilities", "heatmap", "features")))

    return infer


def _probabilities(infer: Infer, part: _Part) -> NDArray[np.float32]:
    return np.concatenate([infer(images).probabilities[:, POSITIVE] for images in network_inputs(part.squares)])


def _metadata(
    name: str, number: int, config: FitConfig, manifest: Manifest, parameter_count: int, temperature: float
) -> Metadata:
    image = TensorSpec(shape=(-1, IMAGE_SIZE, IMAGE_SIZE, 3), minimum=0, maximum=1)
    return Metadata(
        format_version=FORMAT_VERSION,
        name=name,
        version=number,
        backbone=config.backbone,
        recipe=config.recipe,
        note=_note(config),
        labels=LABELS,
        preprocessing_version=PREPROCESSING_VERSION,
        inputs={"image": image},
        outputs={
            "probabilities": TensorSpec(shape=(-1, 2), minimum=0, maximum=1),
            "heatmap": TensorSpec(shape=(-1, -1, -1), minimum=0, maximum=1),
            "features": TensorSpec(shape=(-1, -1)),
        },
        temperature=temperature,
        threshold=0.5,
        threshold_rule=THRESHOLD_RULE,
        metrics={},
        tolerances=TOLERANCES,
        config_digest=_digest(config),
        data_digest=manifest.digest,
        git_commit=git_commit(),
        libraries=library_versions(),
        parameter_count=parameter_count,
        files={},
    )


def _note(config: FitConfig) -> str:
    sentences = ["Research use only: never a diagnosis."]
    if config.backbone == "NASNetMobile":
        sentences.append(f"{config.backbone} stands in for NASNetLarge, the winner of the original study.")
    if config.weights == "random":
        sentences.append("Trained from random weights, without ImageNet.")
    return " ".join(sentences)


def _write_metadata(folder: Path, metadata: Metadata) -> None:
    listed = metadata.model_copy(update={"files": file_digests(folder)})
    (folder / METADATA).write_text(listed.model_dump_json(indent=1) + "\n", encoding="utf-8")
