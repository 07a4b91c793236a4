"""A backbone, a recipe and a data folder that train in seconds.

Run as ``python -m tests.training.tiny``, it is ``python -m training`` with the tiny network as every backbone.
"""

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import training.atomic
import training.evaluate
import training.fit
from training.backbones import BACKBONES, Backbone
from training.calibration import Calibration
from training.config import Augmentation, FitConfig, Stage
from training.manifest import Manifest, read_manifest
from training.progress import EpochProgress

GROUPS_A_CLASS: Final = 12
IMAGES_A_GROUP: Final = 2
CALIBRATION: Final = Calibration(1.5, -0.25)
"""Of the exported model: one fitted on so easy a validation part would make every probability 0 or 1."""

KILL_AT: Final = "TINY_KILL_AT"
"""Environment variable "stage epoch batch" (from 0): where the command line kills itself."""

KILL_AT_WRITE: Final = "TINY_KILL_AT_WRITE"
"""Environment variable: the number (from 1) of the file during whose writing the command line kills itself."""

STAGE: Final = Stage(
    epochs=2,
    image_size=32,
    unfrozen_layers="all",
    checkpoint_monitor="val_loss",
    stopping_monitor="val_loss",
    optimizer="adamw",
    weight_decay=0.01,
    peak_learning_rate=3e-3,
    warmup_epochs=1,
)

CONFIG: Final = FitConfig(
    backbone="NASNetMobile",
    weights="random",
    batch_size=16,
    label_smoothing=0.05,
    mixup_alpha=0.2,
    batch_norm_momentum=0.5,
    augmentation=Augmentation(mirror_probability=0.5, shift=0.05, contrast=0.1),
    stages=(STAGE, STAGE),
)
"""Two stages at 32 pixels, of two epochs with two batches each."""


def tiny_network(
    *, include_top: bool, input_shape: tuple[int, int, int], name: str, weights: str | None = None
) -> keras.Model:
    """Build two convolutions with batch normalisation, 16 features; called as ``keras.applications`` are."""
    assert not include_top
    image = x = keras.Input(input_shape)
    for number, filters in enumerate([8, 16], start=1):
        x = keras.layers.Conv2D(filters, 5, 4, padding="same", use_bias=False, name=f"conv_{number}")(x)
        x = keras.layers.BatchNormalization(name=f"bn_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(x)
    model = keras.Model(image, x, name=name)
    if weights == "imagenet":
        address = "http://127.0.0.1:9/tiny-no-top.h5"  # Nobody listens on port 9.
        model.load_weights(keras.utils.get_file(TINY.imagenet_file, address, cache_subdir="models"))
    return model


TINY: Final = Backbone(tiny_network, "tf", "tiny_no_top.h5")


def one_weight(value: float) -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[value]], np.float32)])
    return model


def weight_of(model: keras.Model) -> float:
    return float(model.get_weights()[0][0, 0])


def cut_off_at(stage: int, epoch: int, batch: int, cut_off: Callable[[], Any]) -> type[EpochProgress]:
    """Make what stands for the progress of training and calls ``cut_off`` in the middle of an epoch."""

    class CutOff(EpochProgress):
        def __init__(self, title: str, epochs: int) -> None:
            super().__init__(title, epochs)
            self.here = title.startswith(f"stage {stage + 1} ")
            self.epoch = 0

        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            super().on_epoch_begin(epoch, logs)
            self.epoch = epoch

        def on_train_batch_end(self, index: int, logs: dict[str, float] | None = None) -> None:
            if self.here and (self.epoch, index) == (epoch, batch):
                cut_off()

    return CutOff


def cut_off_at_write(number: int, cut_off: Callable[[], Any]) -> Callable[[int], None]:
    """Make what stands for ``os.fsync`` and calls ``cut_off`` while a file is half on disk."""
    written = 0

    def fsync(file: int) -> None:
        nonlocal written
        written += 1
        if written == number:
            os.ftruncate(file, os.fstat(file).st_size // 2)
            cut_off()

    return fsync


def image_of(label: int, seed: int) -> NDArray[np.uint8]:
    """Draw dark horizontal or bright vertical waves in noise, uint8 (40, 48) or (48, 40)."""
    rng = np.random.default_rng([label, seed])
    y, x = np.mgrid[0:1:40j, 0:1:48j]
    wave = np.sin(2 * np.pi * 4 * (x if label else y) + rng.uniform(0, 6))
    grey = 90 + 50 * label + 40 * wave + rng.normal(0, 12, wave.shape)
    upright = np.clip(grey, 0, 255).astype(np.uint8)
    return upright.T.copy() if seed % 3 == 0 else upright


def make_data(root: Path, groups: int = GROUPS_A_CLASS) -> Manifest:
    """Write a data folder with both classes from the source "both", and one source of a single class each."""
    rows = []
    for label in (0, 1):
        (root / str(label)).mkdir(parents=True)
        for group in range(groups):
            for number in range(IMAGES_A_GROUP):
                path = f"{label}/g{group:02}-{number}.png"
                Image.fromarray(image_of(label, IMAGES_A_GROUP * group + number)).save(root / path)
                source = "both" if group % 2 else f"only {label}"
                rows.append((path, label, f"{label}-{group}", source, "CC0" if label else ""))
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group", "source", "licence"), *rows])
    return read_manifest(root)


def export_tiny(run: Path, manifest: Manifest, models: Path, name: str | None = None, **options: Any) -> Any:
    """Export with a few bootstrap rounds, whose number is not what is tested, and a given calibration."""
    import training.export  # Needs TensorFlow, which ``fit`` does not.

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Calibration, "fit", lambda *_: CALIBRATION)
        patch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)
        return training.export.export(run, manifest, models, name, **options)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    from training.__main__ import app

    BACKBONES.update(dict.fromkeys(BACKBONES, TINY))
    training.evaluate.BOOTSTRAP_ROUNDS = 20
    if KILL_AT in os.environ:
        stage, epoch, batch = map(int, os.environ[KILL_AT].split())
        training.fit.EpochProgress = cut_off_at(stage, epoch, batch, kill)
    if KILL_AT_WRITE in os.environ:
        training.atomic.os.fsync = cut_off_at_write(int(os.environ[KILL_AT_WRITE]), kill)
    app()


if __name__ == "__main__":
    main()
