"""One trial of a search: a training with its own settings, measured on validation and ended early if hopeless."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from app.errors import TrainingError
from training.config import Execution, FitConfig, Monitor, Stage
from training.fit import fit
from training.manifest import Manifest
from training.search.space import with_parameters

OBJECTIVE: Final = "validation accuracy of the epoch whose weights the last stage keeps"
"""Not the loss: label smoothing and the head's penalties are part of it, so that it cannot be compared between trials
that differ in them."""

NOTE: Final = "note"
"""Attribute of a trial: why it was pruned."""

_OUT_OF_MEMORY: Final = ("resource_exhausted", "resourceexhausted", "out of memory", "oom when allocating")
"""How TensorFlow and JAX say it, in lower case: in the type's name or the message, which have no type in common."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What every trial of a search shares.

    Attributes:
        manifest: The data.
        base: The recipe that is searched around.
        space: Each setting's range, by name.
        execution: Precision and XLA.
        trials: Folder of the trials' run folders.
        cache: Folder of the decoded squares.
    """

    manifest: Manifest
    base: FitConfig
    space: Mapping[str, BaseDistribution]
    execution: Execution
    trials: Path
    cache: Path

    def __call__(self, trial: optuna.Trial) -> float:
        """Train with settings that the study's sampler suggests.

        Returns:
            The validation accuracy, 0..1, of the weights that were kept.

        Raises:
            optuna.TrialPruned: Training diverged, ran out of memory, or was worse than the median of other trials.
            TrainingError: What a person must put right; the settings are tried again.
        """
        # A sampler a trial, seeded by its number: alike when the search is repeated, different for each worker.
        seed = np.random.SeedSequence([self.base.seed, trial.number]).generate_state(1)[0]
        trial.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        config = with_parameters(self.base, {name: _suggest(trial, name, of) for name, of in self.space.items()})
        folder = self.trials / str(trial.number)
        shutil.rmtree(folder, ignore_errors=True)  # Left by a study that is no more.
        watch = EpochWatch(trial, config.stages)
        try:
            fit(self.manifest, config, folder, self.execution, cache=self.cache, callbacks=[watch])
        except (TrainingError, KeyboardInterrupt):
            trial.study.enqueue_trial(trial.params)
            raise
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            watch.prune("out of memory")
        finally:
            keras.utils.clear_session()  # Else each trial's graphs stay in memory.
        return kept_accuracy(watch.history, config.stages[-1].checkpoint_monitor)


class EpochWatch(keras.callbacks.Callback):  # type: ignore[misc]
    """Report each epoch to the study, and end a trial that diverged or that the study's pruner gives up.

    A step of the study is an epoch counted through all stages as if the earlier ones had their full length, so that
    trials are compared at the same epoch of the same stage, also where one of them stopped a stage early.
    """

    def __init__(self, trial: optuna.Trial, stages: Sequence[Stage]) -> None:
        """Watch a training that begins with the first of ``stages``."""
        super().__init__()
        self._trial, self._epochs = trial, [stage.epochs for stage in stages]
        self._stage = -1
        self.history: list[dict[str, float]] = []
        """Metrics of the present stage's epochs."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Go on to the next stage."""
        self._stage += 1
        self.history = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Report the epoch's validation accuracy."""
        metrics = dict(logs or {})
        where = f"stage {self._stage + 1}, epoch {epoch + 1}"
        if not math.isfinite(metrics["val_loss"]):
            self.prune(f"diverged in {where}: validation loss {metrics['val_loss']}")
        self.history.append(metrics)
        self._trial.report(metrics["val_accuracy"], sum(self._epochs[: self._stage]) + epoch)
        if self._trial.should_prune():
            self.prune(f"worse than the median in {where}")

    def prune(self, why: str) -> None:
        """End the trial.

        Raises:
            optuna.TrialPruned: Always.
        """
        self._trial.set_user_attr(NOTE, why)
        raise optuna.TrialPruned(f"{why[0].upper()}{why[1:]}.")


def kept_accuracy(history: Sequence[Mapping[str, float]], monitor: Monitor) -> float:
    """Return the validation accuracy of the epoch whose weights a stage keeps: the first that is best by ``monitor``.

    Args:
        history: Metrics by epoch.
        monitor: The stage's ``checkpoint_monitor``.
    """
    best: Any = min if monitor == "val_loss" else max
    kept: Mapping[str, float] = best(history, key=lambda metrics: metrics[monitor])
    return float(kept["val_accuracy"])


def ran_out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that memory, of the machine or the accelerator, did not suffice."""
    text = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, MemoryError) or any(mark in text for mark in _OUT_OF_MEMORY)


def _suggest(trial: optuna.Trial, name: str, of: BaseDistribution) -> Any:
    match of:
        case FloatDistribution():
            return trial.suggest_float(name, of.low, of.high, log=of.log)
        case IntDistribution():
            return trial.suggest_int(name, of.low, of.high, log=of.log)
        case CategoricalDistribution():
            return trial.suggest_categorical(name, of.choices)
    raise AssertionError(of)
