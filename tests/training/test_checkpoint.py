from pathlib import Path

import keras
import numpy as np
import pytest

from app.errors import TrainingError
from training.checkpoint import BestWeights, HistoryFile, TrainingState, WeightAverage, read_history
from training.config import Monitor


def one_weight(value: float) -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[value]], np.float32)])
    return model


def weight_of(model: keras.Model) -> float:
    return float(model.get_weights()[0][0, 0])


def averaging(model: keras.Model, decay: float) -> WeightAverage:
    average = WeightAverage(decay)
    average.set_model(model)
    average.on_train_begin()
    return average


def test_the_average_moves_by_its_ramp_and_then_by_its_decay() -> None:
    model = one_weight(1.0)
    average = averaging(model, decay=0.25)
    expected = 1.0
    for step, value in enumerate([2.0, 4.0, -1.0, 0.5], start=1):
        model.set_weights([np.array([[value]], np.float32)])
        average.on_train_batch_end(step)
        decay = min(0.25, (1 + step) / (10 + step))  # 2/11, then 3/12 and more.
        expected += (1 - decay) * (value - expected)
    assert average.average[0][0, 0] == pytest.approx(expected)
    assert weight_of(model) == 0.5


def test_the_average_holds_from_validation_to_the_next_epoch() -> None:
    model = one_weight(0.0)
    average = averaging(model, decay=0.9)
    model.set_weights([np.array([[11.0]], np.float32)])
    average.on_train_batch_end(0)
    average.on_test_begin()
    assert weight_of(model) == pytest.approx(9.0)  # 11 * (1 - 2/11)
    average.on_test_begin()  # A second validation must not set the average aside.
    assert average.raw is not None
    assert average.raw[0][0, 0] == 11.0
    average.on_epoch_begin(1)
    assert weight_of(model) == 11.0
    assert average.raw is None


def test_the_average_has_the_moving_statistics_of_batch_normalisation() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
    average = averaging(model, decay=0.9)
    model.set_weights([np.full(1, 11.0, np.float32) for _ in range(4)])
    average.on_train_batch_end(0)
    assert [float(value[0]) for value in average.average] == pytest.approx([11 - 10 * 2 / 11, 9, 9, 11 - 10 * 2 / 11])


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
