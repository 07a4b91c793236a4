"""Train one backbone: data folder in, run folder out.

A run folder holds ``config.json``, ``data.json`` (digests of the manifest, and of its parts where these were given),
``execution.json`` (precision, XLA and devices), ``stage-<n>.weights.h5`` and, of the last stage, ``best.weights.h5``
(each stage's best epoch), ``history-<n>.csv``, ``timing.json`` (what each epoch took), ``stage-<n>.done``,
``tensorboard/`` where TensorFlow is present, ``exported.json`` (the artifact that was last made of it), and
``state.npz``, from which the same command goes on after the last finished epoch when it was cut off.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import Diverged, TrainingError
from training.atomic import reading
from training.average import WeightAverage
from training.backbones import build_model, unfreeze
from training.balance import balanced_weights
from training.checkpoint import BestWeights, HistoryFile, TrainingState
from training.claim import DataIdentity, claim
from training.config import DEFAULT_EXECUTION, Execution, FitConfig, Stage
from training.dataset import FeatureDataset, XrayDataset, one_hot
from training.devices import (
    distributed,
    first_process_first,
    is_first_process,
    share_of,
    undistributed,
    wait_for_all,
)
from training.manifest import LABELS, Manifest
from training.progress import EpochProgress
from training.schedule import schedule_of
from training.splits import Split, split
from training.squares import load_squares
from training.timing import TimingFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run consists of, and where it is kept."""

    manifest: Manifest
    parts: Split
    config: FitConfig
    execution: Execution
    folder: Path
    cache: Path
    callbacks: Sequence[keras.callbacks.Callback]

    def best_weights(self, number: int) -> Path:
        """Return the file of a stage's best epoch."""
        last = number == len(self.config.stages) - 1
        return self.folder / ("best.weights.h5" if last else f"stage-{number}.weights.h5")


def fit(
    manifest: Manifest,
    config: FitConfig,
    run: Path,
    execution: Execution = DEFAULT_EXECUTION,
    *,
    parts: Split | None = None,
    cache: Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """Train through all stages and keep the best epoch's weights.

    Args:
        manifest: The data set.
        config: The recipe.
        run: The run folder; made if missing, resumed if it holds an unfinished run of the same recipe and data.
        execution: Precision, XLA and devices.
        parts: Of the manifest, for a fold of a cross-validation; by default the 64:16:20 split of the recipe's seed.
        cache: Folder for preprocessed squares, which several runs may share; by default in the run folder.
        callbacks: Called in each stage after the run's own.

    Returns:
        The model with the weights of the best epoch of the last stage, as ``run/best.weights.h5`` holds them.

    Raises:
        TrainingError: The folder holds a run of another recipe, other data or another execution, or the devices cannot
            share a batch.
        Diverged: The validation loss was never a number.
    """
    share_of(execution).assert_divides(config.batch_size)
    with first_process_first("claim of the run folder"):
        run.mkdir(parents=True, exist_ok=True)
        begun = has_begun(run)
        claim(run / "config.json", config, begun=begun)
        claim(run / "data.json", DataIdentity(manifest=manifest.digest, parts=parts and parts.digest), begun=begun)
        claim(run / "execution.json", execution, begun=begun)
    whole = _Run(
        manifest, parts or split(manifest, config.split_seed), config, execution, run, cache or run / "cache", callbacks
    )
    keras.utils.set_random_seed(config.seed)
    model: keras.Model | None = None
    with distributed(execution):
        for number in range(len(config.stages)):
            model = _run_stage(whole, number)
    assert model is not None  # The configuration has at least one stage.
    return model


def has_begun(run: Path) -> bool:
    """Say whether an epoch was finished in a run folder, which then belongs to its run."""
    return (run / "state.npz").exists()


def load_best(run: Path, config: FitConfig) -> keras.Model:
    """Rebuild a run's model in float32 at the size of the artifact and load its best weights.

    Raises:
        TrainingError: The run is unfinished.
    """
    last = run / f"stage-{len(config.stages) - 1}.done"
    if not last.exists():
        raise TrainingError(f"{run} holds no finished training: {last.name} is missing. Run the same 'fit' again.")
    model = build_model(config, weights="random")
    path = run / "best.weights.h5"
    try:
        model.load_weights(path)
    except (OSError, KeyError, ValueError) as error:  # As HDF5 and Keras report a file that is not whole.
        raise TrainingError(f"{path} cannot be read as this run's weights: {error}") from error
    return model


def read_config(run: Path) -> FitConfig:
    """Read the configuration that a run was started with.

    Raises:
        TrainingError: The folder is not a run folder.
    """
    path = run / "config.json"
    if not path.exists():
        raise TrainingError(f"{run} is not a run folder: config.json is missing.")
    with reading(path):
        return FitConfig.model_validate_json(path.read_text())


def read_execution(run: Path) -> Execution:
    """Read how a run is computed."""
    with reading(run / "execution.json"):
        return Execution.model_validate_json((run / "execution.json").read_text())


def read_data_digest(run: Path) -> str:
    """Read the digest of the manifest that a run was started with.

    Raises:
        TrainingError: It is a fold of a cross-validation, whose images are not in the parts of the usual split.
    """
    with reading(run / "data.json"):
        identity = DataIdentity.model_validate_json((run / "data.json").read_text())
    if identity.parts:
        raise TrainingError(
            f"{run} is a fold of a cross-validation: it was trained on images of the usual test part, or tested on "
            "others. Train the recipe with 'fit' and take that run."
        )
    return identity.manifest


def _run_stage(run: _Run, number: int) -> keras.Model:
    stage = run.config.stages[number]
    model = build_model(run.config, stage.image_size, weights="random" if number else None, execution=run.execution)
    if number:
        model.load_weights(run.best_weights(number - 1))
    done = run.folder / f"stage-{number}.done"
    if not done.exists():
        stream = random.getstate()
        unfreeze(model.get_layer("backbone"), stage.unfrozen_layers)
        _train(model, run, number)
        if is_first_process():
            done.touch()
        random.setstate(stream)  # The next stage is the same whether or not this process trained this one.
    wait_for_all(f"end of stage {number}")
    model.load_weights(run.best_weights(number))
    return model


def _train(model: keras.Model, run: _Run, number: int) -> None:
    """Train a model through a stage, from where it was cut off."""
    config, stage = run.config, run.config.stages[number]
    title = f"stage {number + 1} of {len(config.stages)} of {config.name}"
    # With constant features the head alone goes through the epochs; it shares its layers with the whole.
    trained = _head_of(model) if config.has_constant_features(stage) else model
    _compile(trained, stage, config, run.execution)
    average = WeightAverage(config.average_decay) if config.average_decay else None
    schedule = schedule_of(stage)
    stopping = keras.callbacks.EarlyStopping(stage.stopping_monitor, patience=stage.patience)
    best = BestWeights(run.best_weights(number), stage.checkpoint_monitor, model)
    state = TrainingState(run.folder / "state.npz", number, stopping, best, schedule, average)
    epoch = state.restore(trained)
    training, validation = _data(model, run, stage, epoch)
    logger.info("%s: at %d pixels, %s, from epoch %d", title, stage.image_size, run.execution.precision, epoch + 1)
    with EpochProgress(title, stage.epochs) as progress:
        trained.fit(
            training,
            validation_data=validation,
            epochs=epoch if state.stopped else stage.epochs,
            initial_epoch=epoch,
            callbacks=[
                *([average] if average else []),
                schedule,
                stopping,
                best,
                state,
                HistoryFile(run.folder / f"history-{number}.csv", state),
                TimingFile(run.folder / "timing.json", number, len(run.parts.train)),
                *_tensorboard(run.folder / "tensorboard" / f"stage-{number}"),
                progress,
                *run.callbacks,
            ],
            verbose=0,
        )
    if best.best is None:
        raise Diverged(
            f"{title} diverged: no epoch ended with a finite validation loss. Take a lower learning rate, or float32 "
            "instead of float16, and another --out."
        )


def _compile(model: keras.Model, stage: Stage, config: FitConfig, execution: Execution) -> None:
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


def _head_of(model: keras.Model) -> keras.Model:
    return keras.Model(model.get_layer("features").output, model.output)


def _data(
    model: keras.Model, run: _Run, stage: Stage, epoch: int
) -> tuple[keras.utils.PyDataset, keras.utils.PyDataset]:
    """Make the data to train on from an epoch, and to validate on: images, or features where these are constant."""
    config = run.config.of_stage(stage)
    datasets = []
    for records, training in ((run.parts.train, True), (run.parts.validation, False)):
        with first_process_first("preprocessed squares"):
            squares = load_squares(
                run.manifest.root, records, run.cache, stage.image_size, preprocessing=config.preprocessing
            )
        given: dict[str, Any] = {"training": training, "epoch": epoch, "share": share_of(run.execution)}
        given["weights"] = balanced_weights(records, run.config.balance)
        if run.config.has_constant_features(stage):
            features = _features(model, XrayDataset(squares, one_hot(records), config, training=False))
            datasets.append(FeatureDataset(features, one_hot(records), config, **given))
        else:
            datasets.append(XrayDataset(squares, one_hot(records), config, **given))
    return datasets[0], datasets[1]


def _features(model: keras.Model, images: XrayDataset) -> NDArray[np.float32]:
    backbone = keras.Model(model.input, model.get_layer("features").output)
    with undistributed():
        return np.asarray(backbone.predict(images, verbose=0), np.float32)


def _tensorboard(folder: Path) -> list[keras.callbacks.Callback]:
    """Log to TensorBoard where it can be: Keras writes these logs with TensorFlow, whatever the backend."""
    if not is_first_process() or not (find_spec("tensorflow") and find_spec("tensorboard")):
        return []
    if keras.backend.backend() != "tensorflow":
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")  # It would take their memory away from the backend.
    return [keras.callbacks.TensorBoard(folder, write_graph=False)]


def _optimizer(stage: Stage) -> keras.optimizers.Optimizer:
    if stage.optimizer == "adam":
        return keras.optimizers.Adam(stage.peak_learning_rate)
    optimizer = keras.optimizers.AdamW(stage.peak_learning_rate, weight_decay=stage.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer
