"""Keep a run's best epoch, and resume it from its last finished one."""

import csv
import io
import json
import math
import random
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from numpy.typing import NDArray

from training.atomic import assert_room, reading, replacing
from training.average import WeightAverage, Weights
from training.config import Monitor
from training.devices import process_number


class BestWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Keep the weights of the best epoch in a file, which is replaced only by a whole one.

    Keras' ``ModelCheckpoint`` writes in place: cut off there, it leaves neither the old weights nor the new.
    """

    def __init__(self, path: Path, monitor: Monitor, model: keras.Model) -> None:
        """Keep in ``path`` the weights of ``model``, which may hold more layers than the model that is trained."""
        super().__init__()
        self.path, self.monitor, self.whole = path, monitor, model
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save the weights if the monitored value is better than ever and the loss a number."""
        measured = logs or {}
        value = float(measured[self.monitor])
        if math.isnan(measured["val_loss"]) or (self.best is not None and not self._better(value, self.best)):
            return
        self.best = value
        # Beforehand, since HDF5 brings the whole process down where it cannot write.
        assert_room(self.path, int(1.1 * 4 * self.whole.count_params()) + 2**20)
        # Keras asks for the ending .weights.h5. Every process must save, since they wait for each other in it.
        partial = self.path.with_name(f"partial-{process_number()}-{self.path.name}")
        self.whole.save_weights(partial)
        if process_number():
            partial.unlink()
        else:
            partial.replace(self.path)

    def _better(self, value: float, best: float) -> bool:
        return value > best if self.monitor == "val_accuracy" else value < best


class TrainingState(keras.callbacks.Callback):  # type: ignore[misc]
    """Write all that the next epoch depends on, atomically, at the end of each; restore it on demand.

    Restored are the weights, the optimizer with its learning rate, the average, the counters of the stopping
    rule and of the learning rate's schedule, the best value so far, the history, the random streams of the
    dropout layers, and Python's, by which Keras shuffles the batches. What is in a batch follows from the
    epoch's number alone.
    Must stand after the callbacks whose state it keeps.
    """

    COUNTERS: ClassVar = {
        keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch"),
        BestWeights: ("best",),
        keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
        keras.callbacks.LearningRateScheduler: (),
    }

    def __init__(
        self,
        path: Path,
        stage: int,
        stopping: keras.callbacks.EarlyStopping,
        best: BestWeights,
        schedule: keras.callbacks.Callback,
        average: WeightAverage | None,
    ) -> None:
        """Keep the state of stage number ``stage`` (from 0) in the file ``path``."""
        super().__init__()
        self.path, self.stage = path, stage
        self.stopping, self.average = stopping, average
        self.counting = {"stopping": stopping, "checkpoint": best, "schedule": schedule}
        self.history: list[dict[str, float]] = []
        self._restored: dict[str, Any] = {}

    def restore(self, model: keras.Model) -> int:
        """Load the state into a compiled model.

        Returns:
            The epoch to go on with: 0 where this stage has not finished an epoch.
        """
        if not self.path.exists():
            return 0
        with reading(self.path), self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            meta = json.loads(str(arrays["meta"]))
            if meta["stage"] != self.stage:
                return 0
            model.set_weights(_unpack(arrays, "model"))
            model.optimizer.build(model.trainable_variables)
            for variable, value in zip(model.optimizer.variables, _unpack(arrays, "optimizer"), strict=True):
                variable.assign(value)
            for variable, value in zip(_dropout_streams(model), _unpack(arrays, "dropout"), strict=True):
                variable.assign(value)
            if self.average:
                self.average.restore(_unpack(arrays, "average"), meta["average_steps"])
        self.history, self._restored = meta["history"], meta
        version, internal_state, next_gauss = meta["random"]
        random.setstate((version, tuple(internal_state), next_gauss))
        return len(self.history)

    @property
    def stopped(self) -> bool:
        """Whether the restored run had stopped early, and was cut off before it said so."""
        return bool(self._restored) and self._restored["counters"]["stopping"]["wait"] >= self.stopping.patience

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Give the other callbacks their counters back, which their own start has reset."""
        for callback, counters in self._restored.get("counters", {}).items():
            for name, value in counters.items():
                setattr(self.counting[callback], name, value)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the state: to a file beside, then in one step under its name."""
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        set_aside = self.average.raw if self.average else None
        arrays = _pack("model", set_aside if set_aside is not None else self.model.get_weights())
        arrays |= _pack("optimizer", [np.asarray(v) for v in self.model.optimizer.variables])
        arrays |= _pack("average", self.average.average if self.average else [])
        arrays |= _pack("dropout", [np.asarray(v) for v in _dropout_streams(self.model)])
        meta = {
            "stage": self.stage,
            "history": self.history,
            "average_steps": self.average.steps if self.average else 0,
            "counters": {
                name: {counter: getattr(callback, counter) for counter in self.COUNTERS[type(callback)]}
                for name, callback in self.counting.items()
            },
            "random": random.getstate(),
        }
        with replacing(self.path) as file:
            np.savez(file, meta=json.dumps(meta), **arrays)  # type: ignore[arg-type]


class HistoryFile(keras.callbacks.Callback):  # type: ignore[misc]
    """Write the metrics of all finished epochs as CSV, each once however often the run was cut off.

    Must stand after the state whose history it writes.
    """

    def __init__(self, path: Path, state: TrainingState) -> None:
        """Write the history of ``state`` to the file ``path``."""
        super().__init__()
        self.path, self.state = path, state

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Write what a resumed run had finished."""
        self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the file anew with this epoch."""
        self._write()

    def _write(self) -> None:
        history = self.state.history
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, ["epoch", *sorted(history[0])] if history else ["epoch"])
        table.writeheader()
        table.writerows({"epoch": epoch} | metrics for epoch, metrics in enumerate(history))
        with replacing(self.path) as file:
            file.write(text.getvalue().encode())


def read_history(path: Path) -> tuple[dict[str, float], ...]:
    """Read the metrics of a stage's epochs, as ``HistoryFile`` writes them."""
    with reading(path), path.open(newline="", encoding="utf-8") as file:
        return tuple({name: float(value) for name, value in row.items()} for row in csv.DictReader(file))


def _dropout_streams(model: keras.Model) -> list[keras.Variable]:
    """Return the states of the model's random streams, which ``get_weights`` leaves out."""
    return [variable for variable in model.variables if "seed_generator" in variable.path]


def _pack(name: str, weights: Weights) -> dict[str, NDArray[np.float32]]:
    return {f"{name}/{index:05d}": weight for index, weight in enumerate(weights)}


def _unpack(arrays: Any, name: str) -> Weights:
    return [arrays[key] for key in sorted(arrays.files) if key.startswith(f"{name}/")]
