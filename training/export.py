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
from app.imaging import IMAGE_SIZE, to_network_input
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
from training.precision import Reference, covid_probabilities, measure_precisions
from training.properties import measure_trivial_rules
from training.quantize import CALIBRATION_IMAGES, assert_can_quantize
from training.splits import split
from training.squares import load_squares

_EXPORTED: Final = "exported.json"
"""In a run folder: what was last exported of it."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Images of one split, ready to be measured."""

    records: tuple[Record, ...]
    squares: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Images:
    """What an export is measured on."""

    validation: _Part
    test: _Part
    calibration: NDArray[np.uint8] | None
    """Training squares to quantize with, uint8 (M, 224, 224); None: no int8."""


def export(
    run: Path,
    manifest: Manifest,
    models: Path,
    name: str | None = None,
    cache: Path | None = None,
    *,
    int8: bool = False,
) -> Artifact:
    """Export a run's best epoch to ``models/<name>/<next version>``.

    Temperature and threshold are fitted on validation. The saved graph is read back by OpenVINO, must
    reproduce the golden outputs, and is what the metrics are measured with, those of the test part too. Lower
    precisions are then compared with it on validation.

    Args:
        run: A finished run folder.
        manifest: The data that the run was trained on.
        models: The folder of all models.
        name: Of the model; by default the backbone's in lower case.
        cache: Folder of preprocessed squares; by default in the run folder.
        int8: Whether to quantize the network too, and keep the result if it is as accurate.

    Raises:
        TrainingError: The run is unfinished, the data are others, or NNCF is not there to quantize with.
        ArtifactError: The exported graph does not answer as the trained model does.
    """
    if int8:
        assert_can_quantize()
    config = read_config(run)
    if read_data_digest(run) != manifest.digest:
        raise TrainingError(
            f"{run} was trained on other data than {manifest.root} now holds. Export with the same data."
        )
    model = load_best(run, config)
    parts = split(manifest, config.split_seed)
    cache = cache or run / "cache"
    images = _Images(
        _load(manifest, parts.validation, config, cache),
        _load(manifest, parts.test, config, cache),
        _load(manifest, _calibration(parts.train, config.seed), config, cache).squares if int8 else None,
    )
    rules = measure_trivial_rules(
        manifest.root, parts.validation, parts.test, cache, preprocessing=config.preprocessing
    )
    logits = logits_of(model, to_network_input(images.validation.squares))
    temperature = fit_temperature(logits, images.validation.labels)

    name = name or config.backbone.lower()
    number = _next_version(models / name)
    metadata = _metadata(name, number, config, manifest, model.count_params(), temperature)
    folder, final = models / name / f".{number}.partial", models / name / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _save(serving_module(model, temperature), folder)
        metadata = _measured(folder, metadata, images, rules)
        (folder / MODEL_CARD).write_text(model_card(metadata, config, manifest, parts), encoding="utf-8")
        _write_metadata(folder, metadata)
        folder.rename(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Nothing is there any more once it has its name.
    artifact = open_artifact(final)
    with replacing(run / _EXPORTED) as file:
        file.write(json.dumps({"model": f"{name}/{number}", "digest": artifact.digest}).encode())
    return artifact


def _measured(folder: Path, metadata: Metadata, images: _Images, rules: dict[str, dict[str, float]]) -> Metadata:
    """Measure the saved graph through the serving engine, which checks the golden outputs first."""
    validation, test = images.validation, images.test
    _write_metadata(folder, metadata)
    infer = load_engine("openvino", open_artifact(folder)).infer
    probabilities = covid_probabilities(infer, validation.squares)
    threshold = fit_threshold(validation.labels, probabilities)
    metrics = {
        "validation": describe(validation.records, probabilities, threshold),
        "test": describe(test.records, covid_probabilities(infer, test.squares), threshold),
        "trivial_rules": rules,
    }
    metadata = metadata.model_copy(update={"threshold": threshold, "metrics": metrics})
    reference = Reference(validation.squares, validation.labels, probabilities, threshold)
    return measure_precisions(folder, metadata, reference, images.calibration)


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


def _load(manifest: Manifest, records: tuple[Record, ...], config: FitConfig, cache: Path) -> _Part:
    squares = load_squares(manifest.root, records, cache, preprocessing=config.preprocessing)
    return _Part(records, squares, np.array([r.label for r in records]))


def _calibration(train: tuple[Record, ...], seed: int) -> tuple[Record, ...]:
    """Draw the training images that activations are measured on for int8."""
    chosen = np.random.default_rng(seed).permutation(len(train))[:CALIBRATION_IMAGES]
    return tuple(train[index] for index in np.sort(chosen))


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
        preprocessing_version=config.preprocessing,
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
        tolerances=dict(TOLERANCES),
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
