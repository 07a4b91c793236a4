import keras
import numpy as np
import pytest

from tests.training.tiny import one_weight, weight_of
from training.average import WeightAverage


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
