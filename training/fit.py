"""Train one backbone: data folder in, run folder out.

A run folder holds ``config.json``, ``data.json`` (the manifest's digest), ``execution.json`` (precision and
XLA), ``stage-<n>.weights.h5`` and, of the last stage, ``best.weights.h5`` (each stage's best epoch),
``history-<n>.csv``, ``stage-<n>.done``, and ``state.npz``, from which the same command goes on after the last
finished epoch when it was cut off.
"""

import json
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.errors import TrainingError
from training.backbones import build_model, unfreeze
from training.checkpoint import HistoryFile, TrainingState, WeightAverage, replacing
from training.config import DEFAULT_EXECUTION, Execution, FitConfig, Stage
from training.dataset import XrayDataset, load_squares, one_hot
from training.devices import distributed, first_process_first, is_first_process, share_of, wait_for_all
from training.manifest import LABELS, Manifest, Record
from training.progress import EpochProgress
from training.schedule import schedule_of
from training.splits import Split, split

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run consists of, and where it is kept."""

    manifest: Manifest
    parts: Split
    config: FitConfig
    execution: Execution
    folder: Path

    def best_weights(self, number: int) -> Path:
        """Return the file of a stage's best epoch."""
        last = number == len(self.config.stages) - 1
        return self.folder / ("best.weights.h5" if last else f"stage-{number}.weights.h5")


def fit(manifest: Manifest, config: FitConfig, run: Path, execution: Execution = DEFAULT_EXECUTION) -> keras.Model:
    """Train through all stages and keep the best epoch's weights.

    Args:
        manifest: The data set.
        config: The recipe.
        run: The run folder; made if missing, resumed if it holds an unfinished run of the same recipe and data.
        execution: Precision and XLA.

    Returns:
        The model with the weights of the best epoch of the last stage, as ``run/best.weights.h5`` holds them.

    Raises:
        TrainingError: The folder holds a run of another recipe, other data or another execution.
    """
    with first_process_first("claim of the run folder"):
        run.mkdir(parents=True, exist_ok=True)
        _claim(run, manifest, config, execution)
    whole = _Run(manifest, split(manifest, config.seed), config, execution, run)
    keras.utils.set_random_seed(config.seed)
    model: keras.Model | None = None
    with distributed(execution):
        for number in range(len(config.stages)):
            model = _run_stage(whole, number)
    assert model is not None  # The configuration has at least one stage.
    return model


def load_best(run: Path, config: FitConfig) -> keras.Model:
    """Rebuild a run's model in float32 at the size of the artifact and load its best weights.

    Raises:
        TrainingError: The run is unfinished.
    """
    last = run / f"stage-{len(config.stages) - 1}.done"
    if not last.exists():
        raise TrainingError(f"{run} holds no finished training: {last.name} is missing. Run the same 'fit' again.")
    model = build_model(config, weights="random")
    model.load_weights(run / "best.weights.h5")
    return model


def read_config(run: Path) -> FitConfig:
    """Read the configuration that a run was started with.

    Raises:
        TrainingError: The folder is not a run folder.
    """
    path = run / "config.json"
    if not path.exists():
        raise TrainingError(f"{run} is not a run folder: config.json is missing.")
    return FitConfig.model_validate_json(path.read_text())


def read_data_digest(run: Path) -> str:
    """Read the digest of the manifest that a run was started with."""
    return str(json.loads((run / "data.json").read_text())["manifest"])


def _claim(run: Path, manifest: Manifest, config: FitConfig, execution: Execution) -> None:
    """Write what the run consists of, or check that the folder is of the same run."""
    ours = {
        "config.json": config.model_dump(mode="json"),
        "data.json": {"manifest": manifest.digest},
        "execution.json": execution.model_dump(mode="json"),
    }
    for name, content in ours.items():
        path = run / name
        if path.exists():
            _assert_equal(run, name, dict(_flat(json.loads(path.read_text()))), dict(_flat(content)))
            continue
        with replacing(path) as file:
            file.write(json.dumps(content, indent=2).encode())


def _assert_equal(run: Path, name: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    differing = [
        f"{field} is {theirs.get(field, 'absent')} there and {ours.get(field, 'absent')} here"
        for field in theirs | ours
        if theirs.get(field) != ours.get(field)
    ]
    if differing:
        raise TrainingError(
            f"{run} holds another run: in its {name} {'; '.join(differing)}. "
            "Give another --out, or the recipe, data and options of that run to resume it."
        )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of nested JSON by their dotted names."""
    if not isinstance(value, dict | list):
        yield name, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _flat(inner, f"{name}.{key}" if name else str(key))


def _run_stage(run: _Run, number: int) -> keras.Model:
    stage = run.config.stages[number]
    model = build_model(run.config, stage.image_size, weights="random" if number else None, execution=run.execution)
    if number:
        model.load_weights(run.best_weights(number - 1))
    done = run.folder / f"stage-{number}.done"
    if not done.exists():
        stream = random.getstate()
        _compile(model, stage, run.config, run.execution)
        _train(model, run, number)
        if is_first_process():
            done.touch()
        random.setstate(stream)  # The next stage is the same whether or not this process trained this one.
    wait_for_all(f"end of stage {number}")
    model.load_weights(run.best_weights(number))
    return model


def _train(model: keras.Model, run: _Run, number: int) -> None:
    """Train a compiled model through a stage, from where it was cut off."""
    config, stage = run.config, run.config.stages[number]
    title = f"stage {number + 1} of {len(config.stages)}"
    average = WeightAverage(config.average_decay) if config.average_decay else None
    schedule = schedule_of(stage)
    stopping = keras.callbacks.EarlyStopping(stage.stopping_monitor, patience=stage.patience)
    checkpoint = keras.callbacks.ModelCheckpoint(
        run.best_weights(number), monitor=stage.checkpoint_monitor, save_best_only=True, save_weights_only=True
    )
    state = TrainingState(run.folder / "state.npz", number, stopping, checkpoint, schedule, average)
    epoch = state.restore(model)
    logger.info("%s: %s, %s, from epoch %d", title, stage, run.execution, epoch)
    with EpochProgress(title, stage.epochs) as progress:
        model.fit(
            _dataset(run, run.parts.train, stage, epoch=epoch),
            validation_data=_dataset(run, run.parts.validation, stage),
            epochs=epoch if state.stopped else stage.epochs,
            initial_epoch=epoch,
            callbacks=[
                *([average] if average else []),
                schedule,
                stopping,
                checkpoint,
                state,
                HistoryFile(run.folder / f"history-{number}.csv", state),
                progress,
            ],
            verbose=0,
        )


def _compile(model: keras.Model, stage: Stage, config: FitConfig, execution: Execution) -> None:
    unfreeze(model.get_layer("backbone"), stage.unfrozen_layers)
    model.compile(
        optimizer=_optimizer(stage),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing),
        weighted_metrics=["accuracy"],  # The same as unweighted where nothing has a weight.
        jit_compile=execution.xla,
    )
    _build_metrics(model)


def _build_metrics(model: keras.Model) -> None:
    """Make the state of loss and metrics now.

    Keras on JAX would make it from the first training batch, and then serve the batches that its workers had
    fetched ahead, of the epoch before the first, in the first epoch.
    """
    nothing = np.zeros((1, len(LABELS)), np.float32)
    model.compute_loss(y=nothing, y_pred=nothing, training=False)
    model.compute_metrics(None, nothing, nothing)
    model.reset_metrics()


def _dataset(run: _Run, records: Sequence[Record], stage: Stage, epoch: int | None = None) -> XrayDataset:
    """Make the validation data, or with an ``epoch`` to start from the training data."""
    with first_process_first("squares"):
        squares = load_squares(run.manifest.root, records, run.folder / "cache", stage.image_size)
    return XrayDataset(
        squares,
        one_hot(records),
        run.config.of_stage(stage),
        training=epoch is not None,
        epoch=epoch or 0,
        share=share_of(run.execution),
    )


def _optimizer(stage: Stage) -> keras.optimizers.Optimizer:
    if stage.optimizer == "adam":
        return keras.optimizers.Adam(stage.peak_learning_rate)
    optimizer = keras.optimizers.AdamW(stage.peak_learning_rate, weight_decay=stage.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer
