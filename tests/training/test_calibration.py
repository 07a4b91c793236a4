"""Calibration is fitted to what it is fitted on, and moves no answer of the network itself."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from training.calibration import Calibration


def drawn(calibration: Calibration) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw labels by what a network says, and logits that only this calibration brings back to it."""
    rng = np.random.default_rng(1)
    margin = rng.normal(0, 3, 20_000)
    labels = (rng.random(len(margin)) < expit(margin)).astype(np.int64)
    distorted = (margin - calibration.bias) * calibration.temperature
    other = rng.normal(0, 2, len(margin))
    return np.stack([other, other + distorted], axis=1).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("bias", [-1.5, 0.0, 2.0])
def test_fit_recovers_temperature_and_bias(temperature: float, bias: float) -> None:
    fitted = Calibration.fit(*drawn(Calibration(temperature, bias)))
    assert fitted.temperature == pytest.approx(temperature, rel=0.05)
    assert fitted.bias == pytest.approx(bias, abs=0.1)


def test_the_bias_mends_what_a_temperature_cannot() -> None:
    logits, labels = drawn(Calibration(1.0, -1.5))
    mended = Calibration.fit(logits, labels).probabilities(logits)
    left = Calibration(Calibration.fit(logits, labels).temperature).probabilities(logits)
    assert mended.mean() == pytest.approx(labels.mean(), abs=1e-3)
    assert abs(left.mean() - labels.mean()) > 0.1


@pytest.mark.parametrize(("all_right", "lowest", "highest"), [(True, 0.05, 1), (False, 19, 20)])
def test_fit_stays_within_what_is_tried(all_right: bool, lowest: float, highest: float) -> None:
    logits = np.array([[-5, 5], [5, -5]] * 4, np.float32)
    labels = np.array([1, 0] * 4)
    assert lowest <= Calibration.fit(logits, labels if all_right else 1 - labels).temperature <= highest


def test_of_logits_that_tell_nothing_the_share_of_the_labels_is_left() -> None:
    logits, labels = np.zeros((40, 2), np.float32), np.array([1] * 10 + [0] * 30)
    assert Calibration.fit(logits, labels).probabilities(logits) == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize("bias", [-2.0, 0.0, 1.0])
def test_from_even_on_the_network_itself_answers_covid(bias: float) -> None:
    calibration = Calibration(1.7, bias)
    logits = np.random.default_rng(2).normal(0, 2, (200, 2)).astype(np.float32)
    called = calibration.probabilities(logits) >= calibration.even
    np.testing.assert_array_equal(called, logits[:, 1] > logits[:, 0])
