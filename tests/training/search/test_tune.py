import csv
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from typer.testing import CliRunner

import training.fit
import training.search.study
import training.search.tune
import training.study
from app.errors import TrainingError
from tests.training.tiny import CONFIG, KILL_AT, STAGE
from training.__main__ import app
from training.config import Execution, FitConfig, read_recipe, recipe_toml
from training.fit import read_config
from training.manifest import Manifest
from training.search.space import own_parameters, with_parameters
from training.search.tune import SearchResult, tune

ROOT: Final = Path(__file__).parents[3]

BASE: Final = CONFIG.model_copy(
    update={
        "recipe": "tiny",
        "stages": (STAGE.model_copy(update={"epochs": 2, "warmup_epochs": 0, "unfrozen_layers": 3}),),
    }
)

WORKER: Final = """
import os, time
import training.fit, training.search.study, training.search.trial
from tests.training.tiny import main

training.search.study.POLL_S = 0.2
trace, fit = training.fit._compile, training.search.trial.fit

def eagerly(model, *arguments):  # Tracing takes longer than a few steps.
    trace(model, *arguments)
    model.run_eagerly = True

def once_all_workers_are_there(manifest, config, run, *arguments, **options):
    (run.parents[1] / f"worker-{os.getpid()}").touch()
    while len(list(run.parents[1].glob("worker-*"))) < int(os.environ["TINY_WORKERS"]):
        time.sleep(0.05)
    return fit(manifest, config, run, *arguments, **options)

training.fit._compile, training.search.trial.fit = eagerly, once_all_workers_are_there
main()
"""
"""The command line with the tiny network; where there are several workers, each has a trial before one trains."""


def search(manifest: Manifest, out: Path, trials: int, base: FitConfig = BASE, **options: str) -> SearchResult:
    return tune(manifest, base, out, trials, Execution(), **options)


def worker(*arguments: str | Path, workers: int, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, "tune", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TINY_WORKERS": str(workers), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def trials_of(out: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name="tune", storage=f"sqlite:///{out / 'study.db'}").trials


def assert_the_best_is_written(out: Path, base: FitConfig) -> None:
    completed = [trial for trial in trials_of(out) if trial.state == TrialState.COMPLETE]
    best = max(completed, key=lambda trial: trial.value or 0)
    config = read_recipe(out / "best.toml")
    assert config == with_parameters(base, best.params) == read_config(out / "trials" / str(best.number))
    assert f"trial {best.number} of the study 'tune'" in (out / "best.toml").read_text()
    assert [path.name for path in (out / "trials").iterdir()] == [str(best.number)]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(BASE))
    return path


@pytest.mark.usefixtures("tiny_backbone", "eager")
def test_a_search_writes_the_best_trial_as_a_recipe_and_a_table_of_all(tiny_data: Manifest, tmp_path: Path) -> None:
    result = search(tiny_data, tmp_path, 2)
    trials = trials_of(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert trials[0].params == own_parameters(BASE)
    assert result.best == tmp_path / "best.toml"
    assert_the_best_is_written(tmp_path, BASE)
    comments = [line for line in result.best.read_text().splitlines() if line.startswith("#")]
    assert tiny_data.digest in "\n".join(comments)
    assert "the best of 2 finished" in comments[0]

    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_accuracy"]) for row in rows] == [trial.value for trial in trials]
    assert [float(row["head.dropout"]) for row in rows] == [trial.params["head.dropout"] for trial in trials]
    assert [row["epochs"] for row in rows] == ["2"] * 2
    assert len(result.table.splitlines()) == 2 + 2


@pytest.mark.usefixtures("tiny_backbone", "eager")
def test_a_search_repeats_and_one_in_two_parts_is_as_one(tiny_data: Manifest, tmp_path: Path) -> None:
    search(tiny_data, tmp_path / "whole", 2)
    search(tiny_data, tmp_path / "parts", 1)
    search(tiny_data, tmp_path / "parts", 2)
    whole, parts = (
        [(trial.params, trial.value) for trial in trials_of(tmp_path / name)] for name in ("whole", "parts")
    )
    assert whole == parts
    assert len({str(params) for params, _ in whole}) == 2
    assert (tmp_path / "whole" / "best.toml").read_text() == (tmp_path / "parts" / "best.toml").read_text()


@pytest.mark.usefixtures("tiny_backbone")
def test_another_search_in_the_same_folder_is_refused(
    tiny_data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.search.tune, "run_until", lambda *_: iter(()))
    for _ in range(2):
        with pytest.raises(TrainingError, match="None of the study's 0 trials was completed"):
            search(tiny_data, tmp_path, 1)
    message = r"is of another search: recipe\.seed is 7 there and 8 here\. Give another --out"
    other = BASE.model_copy(update={"seed": 8})
    with pytest.raises(TrainingError, match=message):
        search(tiny_data, tmp_path, 1, other)
    (tmp_path / "search.json").unlink()  # As from another machine, on the same study.
    with pytest.raises(TrainingError, match=message):
        search(tiny_data, tmp_path, 1, other)


@pytest.mark.usefixtures("tiny_backbone", "eager")
def test_where_no_trial_is_completed_the_reasons_are_given(tiny_data: Manifest, tmp_path: Path) -> None:
    diverging = STAGE.model_copy(update={"warmup_epochs": 0, "peak_learning_rate": 1e36, "final_learning_rate": 1e35})
    base = BASE.model_copy(update={"stages": (diverging,)})
    with pytest.raises(TrainingError, match="None of the study's 1 trials was completed: diverged in stage 1, epoch 1"):
        search(tiny_data, tmp_path, 1, base)
    assert not (tmp_path / "best.toml").exists()
    assert "diverged" in (tmp_path / "trials.csv").read_text()
    assert list((tmp_path / "trials").iterdir()) == []


@pytest.mark.usefixtures("tiny_backbone", "eager")
def test_weights_that_cannot_be_had_end_the_command_and_the_trial_is_kept(tiny_data: Manifest, tmp_path: Path) -> None:
    base = BASE.model_copy(update={"weights": "nowhere.h5"})
    with pytest.raises(TrainingError, match=r"There is no weights file nowhere\.h5"):
        search(tiny_data, tmp_path, 2, base)
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.FAIL, TrialState.WAITING]


def completed_at_once(trial: optuna.Trial) -> float:
    """Stand for a training."""
    return trial.suggest_float("head.dropout", 0, 0.6)


@pytest.mark.parametrize("command", ["fit", "study"])
def test_fit_and_study_take_the_best_recipe(
    command: str, tiny_data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.search.tune, "Objective", lambda *_: completed_at_once)
    best = search(tiny_data, tmp_path / "search", 2).best
    received: list[FitConfig] = []
    monkeypatch.setattr(training.fit, "fit", lambda _, config, *__: received.append(config))
    done = SimpleNamespace(report=tmp_path, winner="the only one", artifact=None)
    monkeypatch.setattr(training.study, "study", lambda _, config, *__: received.extend(config.runs) or done)
    options = ["--data", tiny_data.root, "--backbone", BASE.backbone, "--recipe", best, "--out", tmp_path / "run"]
    result = CliRunner().invoke(app, [command, *map(str, options)])
    assert result.exit_code == 0, result.stderr
    assert received == [read_recipe(best)]


def test_a_best_recipe_with_a_name_that_would_break_a_comment_stays_one_line(
    tiny_data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.search.tune, "Objective", lambda *_: completed_at_once)
    best = search(tiny_data, tmp_path, 1, study_name="a\nseed = 9").best
    assert tomllib.loads(best.read_text())["seed"] == BASE.seed


def test_a_database_without_its_driver_is_one_line_and_exit_code_1(tiny_data: Manifest, tmp_path: Path) -> None:
    options = ["--data", tiny_data.root, "--out", tmp_path, "--storage", "oracle://me:secret@host/x"]
    result = CliRunner().invoke(app, ["tune", *map(str, options)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: The driver of oracle://me:***@host/x is not installed: ")
    assert result.stderr.count("\n") == 1


def test_two_workers_share_a_study(tiny_data: Manifest, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--data", tiny_data.root, "--recipe", recipe, "--out", out, "--trials", "3"]
    both = [worker(*options, workers=2) for _ in range(2)]
    told = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(err for _, err in told)
    trials = trials_of(out)
    # Two that take the last trial in the same moment finish one too many.
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * len(trials)
    assert len(trials) in {3, 4}
    lines = [[line.split()[1] for line in err.splitlines() if line.startswith("Trial ")] for _, err in told]
    assert all(lines)
    assert sorted(lines[0] + lines[1]) == [str(trial.number) for trial in trials]
    assert_the_best_is_written(out, BASE)
    assert all(result.splitlines()[-1] == str(out / "best.toml") for result, _ in told)
    assert all("xperimental" not in err and "retracing" not in err for _, err in told)


@pytest.mark.usefixtures("tiny_backbone", "eager")
def test_after_kill_9_the_same_command_tries_the_trial_again(
    tiny_data: Manifest, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    search(tiny_data, out, 1)
    options = ["--data", tiny_data.root, "--recipe", recipe, "--out", out, "--trials", "2"]
    killed = worker(*options, workers=1, **{KILL_AT: "0 1 0"})
    _, told = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, told
    assert [trial.state.name for trial in trials_of(out)] == ["COMPLETE", "RUNNING"]

    monkeypatch.setattr(training.search.study, "GRACE_S", 1)
    resumed = CliRunner().invoke(app, ["tune", *map(str, options)])
    assert resumed.exit_code == 0, resumed.stderr
    trials = trials_of(out)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[1].params == trials[2].params
    assert_the_best_is_written(out, BASE)
