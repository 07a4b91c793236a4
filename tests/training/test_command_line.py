import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import training.evaluate
import training.fit
from app.artifact import open_artifact
from app.imaging import to_network_input
from tests.training.fixtures import FinishedRun
from tests.training.test_resume import assert_equal_runs
from tests.training.tiny import KILL_AT
from training.__main__ import app
from training.config import Execution, read_recipe
from training.dataset import load_squares
from training.evaluate import fit_temperature
from training.fit import fit, load_best
from training.manifest import Manifest
from training.network import logits_of
from training.splits import split

ROOT: Final = Path(__file__).parents[2]

RECIPE: Final = """
backbone = "NASNetMobile"
weights = "random"
batch_size = 16
average_decay = 0.9

[[stages]]
epochs = 9
image_size = 32
unfrozen_layers = "all"
"""


def python(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["export", "--help"]], ids=" ".join)
def test_help_loads_neither_keras_nor_tensorflow(arguments: list[str]) -> None:
    code = (
        "import sys, runpy, atexit; atexit.register(lambda: print(sorted({'keras', 'tensorflow'} & set(sys.modules))));"
    )
    result = python("-c", f"{code} runpy.run_module('training', run_name='__main__', alter_sys=True)", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
    assert "Usage: " in result.stdout


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with too few images to split."""
    for name in ("0/a.png", "1/b.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--data", "nowhere", "--out", "run"], "nowhere must hold the class folders"),
        (["fit", "--data", "data", "--out", "run"], "non-COVID has 1 groups of images"),
        (["fit", "--data", "data", "--out", "run", "--recipe", "r.toml"], "The recipe r.toml cannot be read"),
        (["fit", "--data", "data", "--out", "run", "--backbone", "AlexNet"], "backbone: Input should be"),
        (["fit", "--data", "data", "--out", "run", "--float16-softmax"], "needs the precision mixed_float16"),
        (["fit", "--data", "data", "--out", "data/0/a.png"], "File exists"),
        (["export", "run", "--data", "data"], "run is not a run folder"),
    ],
    ids=["no data", "too few images", "no recipe", "no such backbone", "no float16", "out is a file", "no run"],
)
def test_an_error_is_one_line_and_exit_code_1(
    arguments: list[str], message: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    *notes, error = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert all(note.startswith("metadata.csv does not give every image a group") for note in notes)


@pytest.mark.parametrize(
    ("options", "execution"),
    [
        ([], Execution()),
        (["--precision", "mixed_bfloat16", "--no-xla"], Execution(precision="mixed_bfloat16", xla=False)),
        (
            ["--precision", "mixed_float16", "--float16-softmax", "--xla"],
            Execution(precision="mixed_float16", float16_softmax=True, xla=True),
        ),
    ],
    ids=["as Keras decides", "bfloat16", "as the study"],
)
def test_fit_takes_the_native_recipe_and_the_execution_from_its_options(
    options: list[str], execution: Execution, tiny_data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(training.fit, "fit", lambda *arguments: calls.append(arguments))
    result = run("fit", "--data", tiny_data.root, "--out", tmp_path, *options)
    assert result.exit_code == 0, result.stderr
    [(_, config, _, received)] = calls
    assert (config.recipe, received) == ("native", execution)


@pytest.mark.parametrize("arguments", [["fit"], ["fit", "--data", "d", "--out", "r", "--epochs", "0"], ["train"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.usefixtures("tiny_backbone")
def test_a_killed_fit_goes_on_and_ends_as_an_uninterrupted_one(tiny_data: Manifest, tmp_path: Path) -> None:
    """``kill -9`` of the real command in mid-epoch, then the same command again."""
    recipe, out, whole = tmp_path / "recipe.toml", tmp_path / "killed", tmp_path / "whole"
    recipe.write_text(RECIPE)
    command = (
        "-m",
        "tests.training.tiny",
        "fit",
        "--data",
        tiny_data.root,
        "--recipe",
        recipe,
        "--epochs",
        "2",
        "--out",
    )
    killed = python(*command, out, **{KILL_AT: "0 1 1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "stage-0.done").exists()

    resumed = python(*command, out)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == f"{out / 'best.weights.h5'}\n"
    assert "Traceback" not in resumed.stderr

    config = read_recipe(recipe)
    fit(tiny_data, config.model_copy(update={"stages": (config.stages[0].model_copy(update={"epochs": 2}),)}), whole)
    assert_equal_runs(out, whole)


@pytest.mark.usefixtures("tiny_backbone")
def test_export_fits_the_temperature_and_prints_where_the_model_is_and_what_it_reaches(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)
    result = run("export", finished.run, "--data", finished.manifest.root, "--models", tmp_path, "--name", "mine")
    assert result.exit_code == 0, result.stderr
    path, *metrics = result.stdout.splitlines()
    assert path == str(tmp_path / "mine" / "1")
    metadata = open_artifact(Path(path)).metadata
    measured = metadata.metrics["test"]["metrics"]
    assert [line.split()[0] for line in metrics] == list(measured)
    validation = split(finished.manifest, finished.config.split_seed).validation
    images = to_network_input(load_squares(finished.manifest.root, validation))
    logits = logits_of(load_best(finished.run, finished.config), images)
    assert metadata.temperature == pytest.approx(
        fit_temperature(logits, np.array([r.label for r in validation])), rel=1e-3
    )
    assert np.allclose([float(line.split()[1]) for line in metrics], [m["value"] for m in measured.values()], atol=5e-4)
