"""Whether the input holds training back: ``python benchmarks/input_pipeline.py`` in the training environment.

Trains one network on made-up squares in two ways, in turn: as ``fit`` does, with augmentation, mixup and progress; and
with the same compiled step on one batch that stays on the device. Prints images a second of each as median (minimum to
maximum), the median ratio, and what the input makes with no training beside it, on one thread and on all. Of these,
only the ratio is independent of what else the machine does.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, get_args

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.turns import in_turn, print_ratio, print_row
from training.backbones import build_model, unfreeze
from training.config import BackboneName, Execution, FitConfig, Precision, Stage, read_recipe
from training.dataset import XrayDataset
from training.environment import training_environment
from training.fit import _compile
from training.progress import EpochProgress

RECIPE: Final = Path(__file__).parents[1] / "training" / "recipes" / "shipped.toml"
"""Has every kind of augmentation, and mixup, in its first stage."""


class OneBatch(keras.utils.PyDataset):  # type: ignore[misc]
    """The same arrays again and again."""

    def __init__(self, batch: tuple[Any, ...], steps: int) -> None:
        """Serve ``batch``, whose arrays are on the device, so many times an epoch."""
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.steps

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return the batch."""
        return self.batch


def seconds_of_fit(model: keras.Model, data: keras.utils.PyDataset, *callbacks: keras.callbacks.Callback) -> float:
    """Train for an epoch and return what it took, from before its first batch is asked for.

    At its end Keras reads the metrics, and so waits for the device to compute them.
    """
    times: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: times.append(time.perf_counter()),
        on_epoch_end=lambda *_: times.append(time.perf_counter()),
    )
    model.fit(data, epochs=1, callbacks=[*callbacks, clock], verbose=0)
    return times[1] - times[0]


def seconds_of_constant(model: keras.Model, batch: tuple[Any, ...], steps: int) -> float:
    """Train for so many steps on one batch that stays on the device and return what it took."""
    if keras.backend.backend() != "tensorflow":
        return seconds_of_fit(model, OneBatch(batch, steps))  # Which does nothing to arrays on the device.
    same = itertools.repeat(batch)
    begin = time.perf_counter()
    for _ in range(steps):
        logs = model.train_function(same)
    float(logs["loss"])  # Waits for the device.
    return time.perf_counter() - begin


def seconds_of_input(data: XrayDataset, threads: int) -> float:
    """Make all batches of an epoch on so many threads and return what it took."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(data.__getitem__, range(len(data))):
            pass
    return time.perf_counter() - begin


def made_up(config: FitConfig, size: int, steps: int) -> XrayDataset:
    """Make noise that fills so many batches."""
    rng = np.random.default_rng(0)
    count = steps * config.batch_size
    squares = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
    return XrayDataset(squares, np.eye(2, dtype=np.float32)[np.arange(count) % 2], config, training=True)


def compiled(config: FitConfig, stage: Stage, execution: Execution) -> keras.Model:
    """Build the network and compile it as ``fit`` does."""
    model = build_model(config, stage.image_size, weights="random", execution=execution)
    unfreeze(model.get_layer("backbone"), stage.unfrozen_layers)
    _compile(model, stage, config, execution)
    return model


def warm_in_turn(repeats: int, *measures: Callable[[], float]) -> list[tuple[float, ...]]:
    """Measure once to warm up, then so many times in turn; return the values of each measure."""
    return list(zip(*list(in_turn(1 + repeats, *measures))[1:], strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=get_args(BackboneName), default="NASNetMobile")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--frozen", action="store_true", help="Train the head alone, the fastest step there is.")
    parser.add_argument("--steps", type=int, default=12, help="Of an epoch: fewer make its start weigh more.")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    recipe = read_recipe(RECIPE, backbone=options.backbone, batch_size=options.batch_size)
    changes = {"image_size": options.image_size} | ({"unfrozen_layers": 0} if options.frozen else {})
    stage = recipe.stages[0].model_copy(update=changes)
    config = recipe.of_stage(stage)
    model = compiled(config, stage, Execution(precision=options.precision))
    data = made_up(config, stage.image_size, options.steps)
    batch = tuple(keras.ops.convert_to_tensor(array) for array in data[0])
    images, threads = options.steps * config.batch_size, data.workers

    def fit() -> float:
        with EpochProgress("fit", 1) as progress:
            return seconds_of_fit(model, data, progress)

    seconds_of_fit(model, data)  # Compiles.
    fits, constants = warm_in_turn(options.repeats, fit, lambda: seconds_of_constant(model, batch, options.steps))
    of_one, of_all = warm_in_turn(
        options.repeats, lambda: seconds_of_input(data, 1), lambda: seconds_of_input(data, threads)
    )

    environment = training_environment()
    print(
        f"{environment['device']}; {environment['processor']}; {environment['backend']}, Keras {environment['keras']}"
    )
    print(
        f"{config.backbone}{', frozen' if options.frozen else ''}, {stage.image_size} pixels, batches of "
        f"{config.batch_size}, {options.precision}, {options.steps} steps an epoch, load {os.getloadavg()[0]:.1f}"
    )

    def print_rate(name: str, seconds: tuple[float, ...]) -> float:
        return print_row(name, [images / s for s in seconds], "images/s")

    print_rate("fit", fits)
    constant = print_rate("one constant batch", constants)
    alone = print_rate("input alone, 1 thread", of_one)
    print_rate(f"input alone, {threads} threads", of_all)
    print_ratio("fit / one constant batch", constants, fits)  # Of rates: the seconds the other way round.
    print(f"{'threads that keep up with one step':36} {constant / alone:10.2f}")


if __name__ == "__main__":
    main()
