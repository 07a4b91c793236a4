import os
import shutil
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
from tests.training.tiny import KILL_AT, KILL_AT_WRITE, TINY
from training.__main__ import app
from training.backbones import BACKBONES
from training.calibration import Calibration
from training.card_results import precision_table
from training.config import Execution, StudyConfig, read_recipe
from training.fit import fit, load_best
from training.manifest import Manifest
from training.network import logits_of
from training.splits import split
from training.squares import load_squares
from training.study import train
from training.study_folder import Study, open_study

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


COMMANDS: Final = (
    "preview",
    "data",
    "study",
    "report",
    "fit",
    "tune",
    "crossvalidate",
    "probe",
    "export",
    "card",
    "evaluate",
    "sign",
)


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)], ids=" ".join)
def test_help_loads_neither_keras_nor_tensorflow_nor_optuna(arguments: list[str]) -> None:
    code = (
        "import sys, runpy, atexit; heavy = {'keras', 'optuna', 'tensorflow'};"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))));"
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
        (["export", "run", "--data", "data", "--backbone", "VGG16"], "run is no study folder"),
        (["report", "run", "--data", "data"], "run is not a study folder"),
        (["study", "--data", "nowhere", "--out", "run"], "nowhere must hold the class folders"),
        (["study", "--data", "data", "--out", "run", "--backbone", "AlexNet"], "backbone: Input should be"),
        (
            ["study", "--data", "data", "--out", "run", "--seed", "7", "--seed", "7"],
            "Two runs are called native/NASNetLarge/7",
        ),
        (["study", "--data", "data", "--out", "run"], "non-COVID has 1 groups of images"),
        (["tune", "--data", "data", "--out", "run"], "non-COVID has 1 groups of images"),
        (["crossvalidate", "--data", "data", "--recipe", "native", "--out", "cv"], "non-COVID has 1 groups of images"),
        (["crossvalidate", "--data", "data", "--recipe", "r", "--out", "cv"], "The recipe r cannot be read"),
        (["probe", "--model", "m", "--data", "nowhere", "--out", "p"], "nowhere must hold the class folders"),
        (["probe", "--model", "m", "--data", "data", "--out", "p"], "m"),
        (["evaluate", "--model", "m", "--data", "nowhere", "--out", "r"], "nowhere must hold the class folders"),
        (["evaluate", "--model", "m", "--data", "data", "--out", "r"], "m"),
        (["export", "run", "--data", "data", "--prevalence", "2"], "The prevalence is 2. Give a share"),
        (["card", "--model", "m"], "There is no model folder m"),
        (["evaluate", "--model", "m", "--data", "data", "--out", "r", "--prevalence", "0"], "The prevalence is 0."),
        (["sign", "--model", "m", "--key", "private.pem"], "There is no model folder m"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
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


def test_a_killed_study_goes_on_and_ends_as_an_uninterrupted_one(tiny_data: Manifest, tmp_path: Path) -> None:
    """``kill -9`` of the real command while the second backbone's state is half on disk, then the same again."""
    recipe, out, models = tmp_path / "recipe.toml", tmp_path / "killed", tmp_path / "models"
    recipe.write_text(RECIPE.replace("epochs = 9", "epochs = 2"))
    arguments = ["study", "--data", tiny_data.root, "--recipe", recipe, "--out", out, "--models", models]
    chosen = ["--backbone", "VGG16", "--backbone", "ResNet50"]
    command = ("-m", "tests.training.tiny", *arguments, *chosen)
    killed = python(*command, **{KILL_AT_WRITE: "18"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    second = out / "runs/unnamed/ResNet50/7"
    assert (second / "state.npz.partial").stat().st_size
    assert not (second / "state.npz").exists()
    first_ended = (out / "runs/unnamed/VGG16/7/best.weights.h5").stat().st_mtime_ns

    resumed = python(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert "Traceback" not in resumed.stderr
    assert (out / "runs/unnamed/VGG16/7/best.weights.h5").stat().st_mtime_ns == first_ended
    report, winner, artifact, *_ = resumed.stdout.splitlines()
    assert Path(report).is_file()
    assert winner in {f"winner on validation: unnamed/{backbone}/7" for backbone in ("VGG16", "ResNet50")}
    assert open_artifact(Path(artifact)).path.parent.parent == models

    with pytest.MonkeyPatch.context() as patch:
        for name in BACKBONES:
            patch.setitem(BACKBONES, name, TINY)
        config = StudyConfig.model_validate_json((out / "study.json").read_text())
        whole = open_study(tmp_path / "whole", tiny_data, config)
        train(whole, "study")
    for run_config in config.runs:
        assert_equal_runs(out / "runs" / run_config.name, whole.run_folder(run_config))


@pytest.mark.usefixtures("tiny_backbones")
def test_a_study_is_exported_by_backbone_and_reported_again(
    studied: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)
    folder, data = shutil.copytree(studied.folder, tmp_path / "study"), studied.manifest.root
    asked = ["--backbone", "ResNet50", "--models", tmp_path / "models", "--sensitivity", "0.5", "--prevalence", "0.03"]
    result = run("export", folder, "--data", data, *asked)
    assert result.exit_code == 0, result.stderr
    exported = open_artifact(tmp_path / "models" / "resnet50")
    assert exported.metadata.backbone == "ResNet50"
    assert "with a sensitivity of at least 0.5 there" in exported.metadata.threshold_rule
    assert [of["prevalence"] for of in exported.metadata.metrics["test"]["predictive_values"]] == [0.03]
    assert "measured on the test part 2 times" in exported.card  # The study's report did, too.
    result = run("report", folder, "--data", data, "--public", "--out", tmp_path / "public")
    assert result.exit_code == 0, result.stderr
    assert Path(result.stdout.strip()).parent == tmp_path / "public"
    asked = ["--out", tmp_path / "evaluation", "--prevalence", "0.03"]
    result = run("evaluate", "--model", tmp_path / "models/resnet50", "--data", data, *asked)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == [str(tmp_path / "evaluation" / name) for name in ("index.html", "summary.html")]
    assert "images the model was trained on" in (tmp_path / "evaluation/summary.md").read_text()


def test_a_full_disk_is_said_in_a_line_and_the_run_goes_on_from_there(tiny_data: Manifest, tmp_path: Path) -> None:
    """Files of this process may not grow beyond a limit, as on a disk that is full."""
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("epochs = 9", "epochs = 1"))
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({2**16}, {2**16}));"
    command = ["fit", "--data", tiny_data.root, "--recipe", recipe, "--out", out]
    started = f"{full} import sys; sys.argv[1:] = {[str(word) for word in command]}; import runpy;"
    failed = python("-c", f"{started} runpy.run_module('tests.training.tiny', run_name='__main__', alter_sys=True)")
    assert failed.returncode == 1, failed.stderr
    assert "Traceback" not in failed.stderr
    assert "best.weights.h5 could not be written: File too large. Make room" in failed.stderr
    assert not (out / "stage-0.done").exists()
    assert python("-m", "tests.training.tiny", *command).returncode == 0


@pytest.mark.usefixtures("tiny_backbone")
def test_export_fits_the_calibration_and_prints_where_the_model_is_and_what_it_reaches(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)
    folder, models = finished.copy_run(tmp_path), tmp_path / "models"
    result = run("export", folder, "--data", finished.manifest.root, "--models", models, "--name", "mine")
    assert result.exit_code == 0, result.stderr
    printed, precisions = result.stdout.split("\n\n", 1)
    path, *metrics = printed.splitlines()
    assert path == str(models / "mine" / "1")
    metadata = open_artifact(Path(path)).metadata
    measured = metadata.metrics["test"]["metrics"]
    assert [line.split()[0] for line in metrics] == list(measured)
    assert precisions.strip() == precision_table(metadata)
    validation = split(finished.manifest, finished.config.split_seed).validation
    images = to_network_input(load_squares(finished.manifest.root, validation, preprocessing=1))
    logits = logits_of(load_best(finished.run, finished.config), images)
    fitted = Calibration.fit(logits, np.array([r.label for r in validation]))
    assert metadata.temperature == pytest.approx(fitted.temperature, rel=1e-3)
    assert metadata.calibration_bias == pytest.approx(fitted.bias, abs=1e-3)
    assert np.allclose([float(line.split()[1]) for line in metrics], [m["value"] for m in measured.values()], atol=5e-4)
