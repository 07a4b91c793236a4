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

from app.engines import load_engine
from app.errors import TrainingError
from app.imaging import to_network_input
from tests.app.server import ROOT
from tests.training.jax_process import FED
from tests.training.test_resume import assert_equal_runs
from tests.training.tiny import KILL_AT
from training.config import DEFAULT_EXECUTION
from training.devices import WHOLE, count_devices, distributed, is_first_process, join, share_of
from training.manifest import Manifest
from training.squares import load_squares
from training.study import export_run
from training.study_folder import open_study, read_models

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

TOLERANCE: Final = 1e-4
"""Of weights: several devices add a batch up in another order. One sum differs by 1e-7, and Adam divides small
gradients by their size; 7e-6 was seen. Another batch or another average of the gradients differs by 1e-3 and more."""


def start(
    data: Path, out: Path, *options: str, command: str = "fit", xla: str = "", **environment: str
) -> "subprocess.Popen[str]":
    """Start a command; what it compiles is fast to compile rather than to run, and kept for the next."""
    recipe = out.parent / "tiny.toml"
    recipe.write_text(RECIPE)
    module = [sys.executable, "-m", "tests.training.jax_process", command]
    environment |= {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_backend_optimization_level=0 {xla}",
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return subprocess.Popen(
        [*module, "--data", str(data), "--recipe", str(recipe), "--out", str(out), *options],
        cwd=ROOT,
        env=os.environ | environment,
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
    finish(start(tiny_data.root, run, "--devices", "all", xla="--xla_force_host_platform_device_count=2"))
    assert json.loads((run / "execution.json").read_text())["devices"] == 2
    assert_near(run, whole)


def test_two_processes_train_as_one_does_also_when_they_were_killed(whole: Path, tiny_data: Manifest) -> None:
    run = whole.parent / "processes"
    for killed in (True, False):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        options = ("--devices", "all", "--coordinator", address, "--processes", "2", "--process")
        at = {KILL_AT: "0 1 1"} if killed else {}
        for process in [start(tiny_data.root, run, *options, number, **at) for number in ("0", "1")]:
            finish(process, -signal.SIGKILL if killed else 0)
    assert_near(run, whole)
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}  # One of them wrote.


@pytest.mark.usefixtures("tiny_backbones")
def test_a_study_ends_with_its_report_and_is_exported_where_tensorflow_is(whole: Path, tiny_data: Manifest) -> None:
    folder = whole.parent / "study"
    finish(start(tiny_data.root, folder, "--backbone", "VGG16", command="study"))
    assert (folder / "report/figures/grad_cam.png").is_file()
    study = open_study(folder, tiny_data)
    [model] = read_models(study, study.config.runs)
    artifact = export_run(study, study.config.runs[0], whole.parent / "models")
    squares = load_squares(tiny_data.root, study.parts.test, preprocessing=1)
    served = load_engine("openvino", artifact).infer(to_network_input(squares)).probabilities[:, 1]
    np.testing.assert_allclose(served, model.parts["test"].probabilities, atol=1e-4)


def test_one_device_is_as_if_there_were_no_others() -> None:
    assert count_devices("1") == 1
    assert share_of(DEFAULT_EXECUTION) == WHOLE
    assert is_first_process()
    join(None, None, None)
    with distributed(DEFAULT_EXECUTION):
        assert keras.distribution.distribution() is None


@pytest.mark.parametrize("wanted", ["0", "-1", "two", ""])
def test_a_number_of_devices_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(TrainingError, match=f"--devices takes a number from 1, or 'all'; received '{wanted}'"):
        count_devices(wanted)


@pytest.mark.parametrize("wanted", ["all", "2"])
def test_tensorflow_trains_on_one_device(wanted: str) -> None:
    with pytest.raises(TrainingError, match=r"Several devices need the JAX backend.* KERAS_BACKEND=jax"):
        count_devices(wanted)


def test_processes_cannot_join_on_tensorflow_or_without_all_three_options() -> None:
    with pytest.raises(TrainingError, match=r"Several processes need the JAX backend.* KERAS_BACKEND=jax"):
        join("127.0.0.1:1", 2, 0)
    with pytest.raises(TrainingError, match="missing: --processes, --process"):
        join("127.0.0.1:1", None, None)
