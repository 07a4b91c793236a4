"""What training takes, epoch by epoch."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import keras

from training.atomic import reading, replacing
from training.results import EpochTiming


class TimingFile(keras.callbacks.Callback):  # type: ignore[misc]
    """Write what each epoch took, as JSON: a list of ``EpochTiming``'s fields."""

    def __init__(self, path: Path, stage: int, images: int) -> None:
        """Add the epochs of stage number ``stage`` (from 0), which trains on so many images, to the file ``path``."""
        super().__init__()
        self.path, self.stage, self.images = path, stage, images
        self._began = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._began = self._trained = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Note the end of the last training step; what follows it is validation."""
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the file anew with this epoch, instead of an earlier try at it."""
        took = self._trained - self._began, time.perf_counter() - self._began
        others = [t for t in read_timings(self.path) if (t.stage, t.epoch) != (self.stage, epoch)]
        timings = [*others, EpochTiming(self.stage, epoch, self.images, *took)]
        with replacing(self.path) as file:
            file.write(json.dumps([asdict(timing) for timing in timings], indent=1).encode())


def read_timings(path: Path) -> tuple[EpochTiming, ...]:
    """Read what the epochs of a run took; none where the file is not there."""
    if not path.exists():
        return ()
    with reading(path):
        return tuple(EpochTiming(**fields) for fields in json.loads(path.read_text()))
