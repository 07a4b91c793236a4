"""A finished run to an artifact: calibrate, save, verify through the serving engine, measure, describe."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.artifact import (
    DATA_CARD,
    EXTRA,
    FORMAT_VERSION,
    GATE,
    GOLDEN,
    MODEL_CARD,
    Artifact,
    Metadata,
    TensorSpec,
    open_artifact,
)
from app.engines import load_engine
from app.errors import ArtifactError, TrainingError
from app.imaging import IMAGE_SIZE, to_network_input
from app.outputs import Infer, Outputs
from training.atomic import reading, replacing
from training.backbones import BACKBONES
from training.breakdown import break_down
from training.calibration import Calibration
from training.card_facts import gather_facts
from training.card_writing import write_card, write_metadata
from training.config import STUDY_BACKBONES, FitConfig
from training.data_card import data_card
from training.data_facts import measure_data
from training.environment import git_commit, library_versions
from training.evaluate import THRESHOLD_RULE
from training.fit import load_best, read_config, read_data_digest
from training.gate import fit_gate, gate_record
from training.golden import TOLERANCES, make_golden
from training.graph import serving_module
from training.manifest import LABELS, Manifest, Record
from training.network import logits_of
from training.plots import draw_reliability
from training.precision import Reference, covid_probabilities, measure_precisions
from training.prevalence import PREVALENCES, check_prevalence
from training.properties import measure_trivial_rules
from training.quantize import CALIBRATION_IMAGES, assert_can_quantize
from training.seen import write_seen
from training.splits import split
from training.squares import load_squares
from training.threshold import choose_threshold

_EXPORTED: Final = "exported.json"
"""In a run folder: what was last exported of it, and how often it was."""

RELIABILITY: Final = "reliability.png"
"""In a run folder: the reliability diagram of what was last exported of it."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Images of one split, ready to be measured."""

    records: tuple[Record, ...]
    squares: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Images:
    """What an export is measured on."""

    train: NDArray[np.uint8]
    """Training squares, uint8 (N, 224, 224)."""
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
    sensitivity: float | None = None,
    prevalences: Sequence[float] = PREVALENCES,
) -> Artifact:
    """Export a run's best epoch to ``models/<name>/<next version>``.

    Calibration and threshold are fitted on validation. The saved graph is read back by OpenVINO, must
    reproduce the golden outputs, and is what the metrics are measured with, those of the test part too. Lower
    precisions are then compared with it on validation, and the input gate is fitted.

    Args:
        run: A finished run folder.
        manifest: The data that the run was trained on.
        models: The folder of all models.
        name: Of the model; by default the backbone's in lower case.
        cache: Folder of preprocessed squares; by default in the run folder.
        int8: Whether to quantize the network too, and keep the result if it is as accurate.
        sensitivity: That the threshold is to reach on validation; None: Youden's J chooses.
        prevalences: Of COVID-19, for the predictive values.

    Raises:
        TrainingError: The run is unfinished, the data are others, NNCF is not there to quantize with, a prevalence is
            none, or the sensitivity cannot be reached.
        ArtifactError: The exported graph does not answer as the trained model does.
    """
    if int8:
        assert_can_quantize()
    for prevalence in prevalences:
        check_prevalence(prevalence)
    config = read_config(run)
    if read_data_digest(run) != manifest.digest:
        raise TrainingError(
            f"{run} was trained on other data than {manifest.root} now holds. Export with the same data."
        )
    model = load_best(run, config)
    parts = split(manifest, config.split_seed)
    cache = cache or run / "cache"
    images = _Images(
        _load(manifest, parts.train, config, cache).squares,
        _load(manifest, parts.validation, config, cache),
        _load(manifest, parts.test, config, cache),
        _load(manifest, _calibration(parts.train, config.seed), config, cache).squares if int8 else None,
    )
    validation, test = ((part.records, part.squares) for part in (images.validation, images.test))
    rules = measure_trivial_rules(manifest.root, validation, test)
    logits = logits_of(model, to_network_input(images.validation.squares))
    calibration = Calibration.fit(logits, images.validation.labels)

    exports = _exports_so_far(run)
    name = name or config.backbone.lower()
    number = _next_version(models / name)
    metadata = _metadata(name, number, config, manifest, model.count_params(), calibration)
    folder, final = models / name / f".{number}.partial", models / name / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _save(serving_module(model, calibration), folder)
        metadata = _measured(folder, metadata, images, rules, sensitivity, prevalences)
        reliability = {part: metadata.metrics[part]["calibration"] for part in ("validation", "test")}
        draw_reliability(reliability, run / RELIABILITY)
        facts = gather_facts(metadata, config, manifest, parts, exports + 1 + (run / "answers.npz").exists())
        data_facts = measure_data(manifest, config.split_seed)
        (folder / DATA_CARD).write_text(data_card(data_facts), encoding="utf-8")
        write_seen(folder, parts)
        write_card(folder, metadata, facts)
        folder.rename(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Nothing is there any more once it has its name.
    artifact = open_artifact(final)
    with replacing(run / _EXPORTED) as file:
        note = {"model": f"{name}/{number}", "graph": _graph(artifact), "exports": exports + 1}
        file.write(json.dumps(note).encode())
    return artifact


def _measured(
    folder: Path,
    metadata: Metadata,
    images: _Images,
    rules: dict[str, dict[str, float]],
    sensitivity: float | None,
    prevalences: Sequence[float],
) -> Metadata:
    """Measure the saved graph through the serving engine, which checks the golden outputs first."""
    validation, test = images.validation, images.test
    write_metadata(folder, metadata)
    infer = load_engine("openvino", open_artifact(folder)).infer
    probabilities = covid_probabilities(infer, validation.squares)
    threshold = choose_threshold(validation.labels, probabilities, sensitivity)
    of_test = covid_probabilities(infer, test.squares)
    metrics = {
        "validation": break_down(validation.records, probabilities, threshold.value, prevalences),
        "test": break_down(test.records, of_test, threshold.value, prevalences),
        "trivial_rules": rules,
        "threshold_choice": threshold.choice,
    }
    update = {"threshold": threshold.value, "threshold_rule": threshold.rule, "metrics": metrics}
    metadata = metadata.model_copy(update=update)
    reference = Reference(validation.squares, validation.labels, probabilities, threshold.value)
    return _gated(folder, measure_precisions(folder, metadata, reference, images.calibration), infer, images)


def _gated(folder: Path, metadata: Metadata, infer: Infer, images: _Images) -> Metadata:
    """Fit the input gate, and measure it on validation and test."""
    gate = fit_gate(infer, images.train, images.validation.squares)
    (folder / GATE).write_bytes(gate.to_bytes())
    parts = {"validation": images.validation.squares, "test": images.test.squares}
    return metadata.model_copy(update={"gate": gate_record(gate, infer, images.train, parts)})


def find_exported(run: Path, models: Path) -> Artifact | None:
    """Find what was last exported of this very run; None where nothing was, or where it is no longer there.

    An equal configuration is not enough: trained elsewhere, or in another precision, it gives another model. A card
    that was written again since is none.
    """
    exported = _read_exported(run)
    try:
        artifact = open_artifact(models / exported["model"]) if exported else None
    except ArtifactError:
        return None
    return artifact if artifact and exported.get("graph") == _graph(artifact) else None


def _exports_so_far(run: Path) -> int:
    """Count the exports of a run; before they were counted, the last one alone was noted."""
    exported = _read_exported(run)
    return int(exported.get("exports", 1)) if exported else 0


def _read_exported(run: Path) -> dict[str, Any]:
    note = run / _EXPORTED
    if not note.exists():
        return {}
    with reading(note):
        exported = json.loads(note.read_text(encoding="utf-8"))
        return {"model": exported["model"], **exported}


def _graph(artifact: Artifact) -> str:
    """Return a digest of the saved graph and its weights, whatever is written beside them."""
    files = {name: digest for name, digest in artifact.metadata.files.items() if not name.startswith(f"{EXTRA}/")}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


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
    name: str, number: int, config: FitConfig, manifest: Manifest, parameter_count: int, calibration: Calibration
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
        temperature=calibration.temperature,
        calibration_bias=calibration.bias,
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
    if config.backbone not in STUDY_BACKBONES:
        sentences.append(f"{config.backbone} stands in for NASNetLarge, the winner of the original study.")
    if config.weights == "random":
        sentences.append("Trained from random weights, without ImageNet.")
    if config.weights == "imagenet":
        sentences.append(f"Trained from the ImageNet weights of {BACKBONES[config.backbone].imagenet_source}.")
    return " ".join(sentences)
