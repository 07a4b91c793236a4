from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.tiny import one_weight, weight_of
from training.checkpoint import HistoryFile, TrainingState, replacing


def cut_off_in_the_middle(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"ne")
        raise KeyboardInterrupt


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        cut_off_in_the_middle(path)
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def state_of(model: keras.Model, folder: Path) -> TrainingState:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=2)
    best = keras.callbacks.ModelCheckpoint(folder / "best.weights.h5", save_best_only=True, save_weights_only=True)
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
    with pytest.raises(OSError, match="No space left"):
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
