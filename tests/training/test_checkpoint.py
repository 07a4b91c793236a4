from pathlib import Path

import keras
import numpy as np
import pytest

from app.errors import TrainingError
from tests.training.tiny import one_weight, weight_of
from training.checkpoint import BestWeights, HistoryFile, TrainingState, read_history
from training.config import Monitor


def best_of(model: keras.Model, folder: Path, monitor: Monitor = "val_loss") -> BestWeights:
    return BestWeights(folder / "best.weights.h5", monitor, model)


def kept(folder: Path) -> float:
    model = one_weight(0.0)
    model.load_weights(folder / "best.weights.h5")
    return weight_of(model)


@pytest.mark.parametrize(
    ("monitor", "values", "expected"),
    [("val_loss", [3, 1, 2, 1], 1.0), ("val_accuracy", [0.5, 0.7, 0.7, 0.6], 1.0), ("val_loss", [np.nan, 3, 4], 1.0)],
    ids=["the lowest loss", "the first of equal accuracies", "a number and not NaN"],
)
def test_the_best_epochs_weights_are_kept(
    monitor: Monitor, values: list[float], expected: float, tmp_path: Path
) -> None:
    model = one_weight(0.0)
    best = best_of(model, tmp_path, monitor)
    for epoch, value in enumerate(values):
        model.set_weights([np.array([[epoch]], np.float32)])
        best.on_epoch_end(epoch, {"val_loss": 1.0} | {monitor: value})
    assert kept(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["best.weights.h5"]


def test_a_loss_that_is_no_number_keeps_nothing(tmp_path: Path) -> None:
    best_of(one_weight(0.0), tmp_path, "val_accuracy").on_epoch_end(0, {"val_loss": np.nan, "val_accuracy": 0.9})
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_cut_off_in_writing_leave_the_last_best(tmp_path: Path) -> None:
    best = best_of(one_weight(1.0), tmp_path)
    best.on_epoch_end(0, {"val_loss": 1.0})

    def cut_off(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    best.whole.save_weights = cut_off
    with pytest.raises(KeyboardInterrupt):
        best.on_epoch_end(1, {"val_loss": 0.5})
    assert kept(tmp_path) == 1.0


def state_of(model: keras.Model, folder: Path) -> TrainingState:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=2)
    best = best_of(model, folder)
    stopping.best, stopping.best_epoch, stopping.wait, best.best = 0.5, 0, 1, 0.5
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    schedule = keras.callbacks.ReduceLROnPlateau()
    state = TrainingState(folder / "state.npz", 0, stopping, best, schedule, None)
    state.set_model(model)
    return state


def test_a_crash_while_the_state_is_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = one_weight(1.0)
    state = state_of(model, tmp_path)
    state.on_epoch_end(0, {"loss": 1.0})
    before = state.path.read_bytes()

    def fail(file: object, **_: object) -> None:
        file.write(b"PK half a zip")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(TrainingError, match="No space left"):
        state.on_epoch_end(1, {"loss": 0.5})
    assert state.path.read_bytes() == before
    assert state_of(model, tmp_path).restore(model) == 1


def test_the_state_of_another_stage_is_not_restored(tmp_path: Path) -> None:
    model = one_weight(1.0)
    state = state_of(model, tmp_path)
    state.on_epoch_end(0, {"loss": 1.0})
    state.stage = 1
    model.set_weights([np.zeros((1, 1), np.float32)])
    assert state.restore(model) == 0
    assert weight_of(model) == 0


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    model = one_weight(1.0)
    state = state_of(model, tmp_path)
    state.on_epoch_end(0, {"loss": 1.0})
    state.path.write_bytes(state.path.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"state\.npz is damaged \(.*\)\. Bring it back"):
        state.restore(model)


@pytest.mark.parametrize(("wait", "stopped"), [(1, False), (2, True)])
def test_a_restored_run_knows_whether_it_had_stopped(wait: int, stopped: bool, tmp_path: Path) -> None:
    model = one_weight(1.0)
    state = state_of(model, tmp_path)
    state.stopping.wait = wait
    state.on_epoch_end(0, {"loss": 1.0})
    assert not state.stopped
    state.restore(model)
    assert state.stopped is stopped


def test_the_history_has_each_epoch_once(tmp_path: Path) -> None:
    model = one_weight(1.0)
    state = state_of(model, tmp_path)
    file = HistoryFile(tmp_path / "history.csv", state)
    file.path.write_text("of a run that was cut off before it wrote its state\n")
    file.on_train_begin()
    assert file.path.read_text().splitlines() == ["epoch"]
    state.history = [{"loss": 2.0, "accuracy": 0.5}, {"loss": 1.0, "accuracy": 0.75}]
    file.on_epoch_end(1)
    assert file.path.read_text().splitlines() == ["epoch,accuracy,loss", "0,0.5,2.0", "1,0.75,1.0"]
    assert read_history(file.path) == (
        {"epoch": 0, "accuracy": 0.5, "loss": 2.0},
        {"epoch": 1, "accuracy": 0.75, "loss": 1.0},
    )
