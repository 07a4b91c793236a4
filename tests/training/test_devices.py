"""Training on JAX without TensorFlow: alone, cut off, on two devices, and as two processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import keras
import numpy as np
import pytest

from app.errors import TrainingError
from tests.app.server import ROOT
from tests.training.jax_process import FED
from tests.training.test_resume import assert_equal_runs
from tests.training.tiny import KILL_AT
from training.config import Execution
from training.dataset import FeatureDataset, XrayDataset
from training.devices import Share, count_devices, distributed, join, share_of
from training.manifest import Manifest

RECIPE: Final = """
recipe = "tiny"
backbone = "NASNetMobile"
weights = "random"
batch_size = 8
mixup_alpha = 0.2
batch_norm_momentum = 0.5
average_decay = 0.9
augmentation = { mirror_probability = 0.5, shift = 0.05, contrast = 0.1 }

[[stages]]
epochs = 2
image_size = 32
unfrozen_layers = "all"
optimizer = "adamw"
weight_decay = 0.01
checkpoint_monitor = "val_loss"

[[stages]]
epochs = 1
image_size = 32
augmentation = {}
mixup_alpha = 0.0
"""
"""A network that is trained whole with everything at random, then its head on constant features."""

TOLERANCE: Final = 1e-3
"""Of weights: devices add a batch up in another order, which differs by 1e-7 a step, and Adam's first steps make up to
their rate (1e-3) of what differs in a gradient near zero."""


def start(data: Path, out: Path, *options: str, **environment: str) -> "subprocess.Popen[str]":
    recipe = out.parent / "tiny.toml"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "tests.training.jax_process", "fit", "--data", str(data), "--recipe", str(recipe)]
    return subprocess.Popen(
        [*command, "--out", str(out), *options],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"} | environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def finish(process: "subprocess.Popen[str]", expected: int = 0) -> None:
    _, said = process.communicate(timeout=300)
    assert process.returncode == expected, said


@pytest.fixture(scope="module")
def whole(tiny_data: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run on one device."""
    folder = tmp_path_factory.mktemp("jax")
    finish(start(tiny_data.root, folder / "run", **{FED: str(folder / "fed")}))
    return folder / "run"


def assert_near(run: Path, other: Path) -> None:
    with np.load(run / "state.npz") as ours, np.load(other / "state.npz") as theirs:
        assert ours.files == theirs.files
        for name in ours.files:
            if name.startswith(("model", "average")):
                np.testing.assert_allclose(ours[name], theirs[name], atol=TOLERANCE, err_msg=name)


def test_each_batch_of_each_epoch_is_fed_once(whole: Path) -> None:
    """The same as TensorFlow is fed (test_dataset.py), also though Keras fetches ahead of the first epoch."""
    fed = Counter(tuple(map(int, line.split())) for line in (whole.parent / "fed").read_text().splitlines())
    assert fed == {(epoch, index): 1 for epoch in (1, 2) for index in range(4)}


def test_a_run_that_was_killed_equals_an_uninterrupted_one(whole: Path, tiny_data: Manifest) -> None:
    run = whole.parent / "killed"
    finish(start(tiny_data.root, run, **{KILL_AT: "0 1 1"}), -signal.SIGKILL)
    assert not (run / "stage-0.done").exists()
    finish(start(tiny_data.root, run))
    assert_equal_runs(run, whole)


def test_two_devices_train_as_one_does(whole: Path, tiny_data: Manifest) -> None:
    run = whole.parent / "devices"
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    finish(start(tiny_data.root, run, "--devices", "all", "--xla", **two))
    assert json.loads((run / "execution.json").read_text())["devices"] == 2
    assert_near(run, whole)


def test_two_processes_train_as_one_does_and_one_writes(whole: Path, tiny_data: Manifest) -> None:
    run = whole.parent / "processes"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = ("--devices", "all", "--coordinator", address, "--processes", "2", "--process")
    processes = [start(tiny_data.root, run, *options, number) for number in ("0", "1")]
    for process in processes:
        finish(process)
    assert_near(run, whole)
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
