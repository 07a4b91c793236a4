import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import optuna
import pytest
from optuna.trial import TrialState

import training.search.study
from app.errors import TrainingError
from training.config import Execution, FitConfig
from training.search.study import SearchIdentity, one_line_a_trial, open_study, run_until

IDENTITY: Final = SearchIdentity(
    data="0123", objective="accuracy", recipe=FitConfig(), execution=Execution(), space={"x": "0..1"}
)
FIRST: Final = {"x": 0.5}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(training.search.study, "HEARTBEAT_S", 1)
    monkeypatch.setattr(training.search.study, "GRACE_S", 3)
    monkeypatch.setattr(training.search.study, "POLL_S", 0.05)
    with one_line_a_trial():
        yield


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def opened(url: str, name: str = "tune") -> optuna.Study:
    return open_study(url, name, IDENTITY, FIRST, 0)


def run(study: optuna.Study, trials: int, objective: Callable[[optuna.Trial], float]) -> int:
    return len(list(run_until(study, trials, objective)))


def suggest(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0, 1)


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def without_heartbeats(url: str) -> optuna.Study:
    return optuna.load_study(study_name="tune", storage=url)


def cut_off(url: str) -> None:
    """Leave a trial running without a worker, last heard of longer ago than the grace period."""
    study = without_heartbeats(url)
    trial = study.ask()
    suggest(trial)
    backend = study._storage._backend
    backend.record_heartbeat(trial._trial_id)
    with backend.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00' WHERE trial_id = {trial._trial_id}"
        )


def test_the_first_trial_has_the_settings_that_were_given(url: str) -> None:
    study = opened(url)
    assert run(study, 2, suggest) == 2
    assert study.get_trials()[0].params == FIRST
    assert study.get_trials()[1].params != FIRST


def test_a_study_that_has_its_trials_runs_none(url: str) -> None:
    assert run(opened(url), 2, suggest) == 2
    assert run(opened(url), 2, suggest) == 0
    assert run(opened(url), 3, suggest) == 1


def test_pruned_trials_count_and_failed_ones_do_not(url: str) -> None:
    study = opened(url)

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 0:
            raise optuna.TrialPruned
        return float("nan") if trial.number == 1 else suggest(trial)

    assert run(study, 2, objective) == 3
    assert states(study) == ["PRUNED", "FAIL", "COMPLETE"]


def test_a_trial_that_was_cut_off_fails_and_is_tried_once_more(url: str) -> None:
    study = opened(url)
    cut_off(url)
    assert run(study, 1, suggest) == 1
    assert states(study) == ["FAIL", "COMPLETE"]
    assert study.get_trials()[1].params == FIRST


def test_a_trial_that_was_cut_off_twice_is_not_tried_again(url: str) -> None:
    study = opened(url)
    for _ in range(2):
        cut_off(url)
        optuna.storages.fail_stale_trials(study)
    assert run(study, 1, suggest) == 1
    assert states(study) == ["FAIL", "FAIL", "COMPLETE"]
    assert study.get_trials()[2].params != FIRST


def test_a_trial_of_a_worker_that_lives_is_not_taken_for_cut_off(url: str) -> None:
    study, other = opened(url), opened(url)

    def objective(trial: optuna.Trial) -> float:
        time.sleep(4.5)  # Longer than the grace period.
        optuna.storages.fail_stale_trials(other)
        return suggest(trial)

    assert run(study, 1, objective) == 1
    assert states(study) == ["COMPLETE"]


def test_a_worker_waits_for_the_last_trials_of_others(url: str, caplog: pytest.LogCaptureFixture) -> None:
    study = opened(url)
    other = without_heartbeats(url)
    theirs = other.ask()
    threading.Timer(0.5, lambda: other.tell(theirs, 0.5)).start()
    with caplog.at_level(logging.INFO):
        assert run(study, 1, suggest) == 0
    assert caplog.messages.count("0 of 1 trials are finished; waiting for 1 that others run.") == 1


def test_a_worker_whose_trial_was_given_up_goes_on(url: str, caplog: pytest.LogCaptureFixture) -> None:
    study, other = opened(url), opened(url)

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 0:
            other.tell(trial.number, state=TrialState.FAIL)
        return suggest(trial)

    with caplog.at_level(logging.WARNING):  # Libraries that other tests of this process import may have raised it.
        assert run(study, 1, objective) == 2
    assert states(study) == ["FAIL", "COMPLETE"]
    assert "The trial was given up by another worker" in caplog.text


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")
def test_workers_that_take_a_waiting_trial_in_the_same_moment_take_different_ones(url: str) -> None:
    workers = [opened(url) for _ in range(2)]
    for number in range(1, 20):
        workers[0].enqueue_trial({"x": number / 20})
    start = threading.Barrier(len(workers))

    def take_ten(study: optuna.Study) -> list[int]:
        start.wait()
        return [study.ask().number for _ in range(10)]

    with ThreadPoolExecutor() as pool:
        ours, theirs = pool.map(take_ten, workers)
    assert sorted(ours + theirs) == list(range(20))


def test_another_error_of_the_objective_is_raised(url: str) -> None:
    def objective(trial: optuna.Trial) -> float:
        raise ValueError("a fault of ours")

    with pytest.raises(ValueError, match="a fault of ours"):
        run(opened(url), 1, objective)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": "4567"}, "data is 0123 there and 4567 here"),
        ({"recipe": FitConfig(batch_size=8)}, "recipe.batch_size is 32 there and 8 here"),
        ({"execution": Execution(precision="mixed_bfloat16")}, "execution.precision is float32 there and mixed_bfloat"),
        ({"space": {"x": "0..2"}}, "space.x is 0..1 there and 0..2 here"),
    ],
)
def test_a_study_of_another_search_is_refused(change: dict[str, Any], said: str, url: str) -> None:
    opened(url)
    with pytest.raises(TrainingError, match=r"The study 'tune' is of another search: .*Give another --out") as caught:
        open_study(url, "tune", IDENTITY.model_copy(update=change), FIRST, 0)
    assert said in str(caught.value)


def test_what_cannot_be_read_as_a_search_is_refused() -> None:
    with pytest.raises(TrainingError, match="The folder is not of a search that this version can go on with"):
        IDENTITY.check("The folder", '{"data": "0123", "colour": "blue"}')


def test_studies_of_other_names_share_a_database(url: str) -> None:
    assert run(opened(url, "one"), 1, suggest) == 1
    assert run(opened(url, "two"), 1, suggest) == 1


def test_a_study_of_another_program_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.search.study, "_PAUSES_S", (0, 0))
    optuna.create_study(storage=url, study_name="theirs")
    with pytest.raises(TrainingError, match="'theirs' was not made by this command"):
        opened(url, "theirs")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("search.db", r"--storage cannot be used: Could not parse SQLAlchemy URL"),
        ("nodb://me:secret@host/x", r"nodb://me:\*\*\*@host/x cannot be used: Can't load plugin: .*Accepted is"),
        ("sqlite:////nowhere/x.db", r"sqlite:////nowhere/x\.db cannot be used: .*unable to open database file"),
        ("oracle://me:secret@host/x", r"The driver of oracle://me:\*\*\*@host/x is not installed: No module named"),
    ],
    ids=["no URL", "no such kind", "no such folder", "no driver"],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        opened(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_trial_is_told_in_a_line_without_a_traceback(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    def objective(trial: optuna.Trial) -> float:
        suggest(trial)
        raise TrainingError("There are no weights.")

    with one_line_a_trial(), pytest.raises(TrainingError):
        run(opened(url), 1, objective)
    told = capsys.readouterr().err
    assert "Trial 0 failed with parameters: {'x': 0.5}" in told
    assert "Traceback" not in told
    assert "experimental" not in told
