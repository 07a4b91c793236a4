"""A run that was cut off and resumed by the same command ends exactly where an uninterrupted one ends."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest

import training.fit
from tests.training.tiny import CONFIG, cut_off_at
from training.config import Execution, FitConfig, Plateau
from training.fit import fit
from training.manifest import Manifest

pytestmark = pytest.mark.usefixtures("tiny_backbone", "eager")

Cut = tuple[int, int, int]
"""A stage, an epoch and the batch after which training is cut off, each from 0."""

FLOAT32: Final = Execution()
FLOAT16: Final = Execution(precision="mixed_float16", float16_softmax=True)


class CutOff(Exception):
    pass


def stop_here() -> None:
    raise CutOff


def fit_until(cut: Cut, manifest: Manifest, config: FitConfig, run: Path, execution: Execution = FLOAT32) -> None:
    """Train, and raise where it is to be cut off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.fit, "EpochProgress", cut_off_at(*cut, stop_here))
        with pytest.raises(CutOff):
            fit(manifest, config, run, execution)


def assert_equal_runs(run: Path, other: Path) -> None:
    histories = sorted(path.name for path in other.glob("history-*.csv"))
    assert sorted(path.name for path in run.glob("history-*.csv")) == histories
    for name in histories:
        assert (run / name).read_text() == (other / name).read_text()
    with np.load(run / "state.npz") as ours, np.load(other / "state.npz") as theirs:
        assert ours.files == theirs.files
        assert [name for name in ours.files if not np.array_equal(ours[name], theirs[name])] == []


def assert_that_cuts_change_nothing(
    config: FitConfig, cuts: list[Cut], manifest: Manifest, folder: Path, execution: Execution = FLOAT32
) -> Path:
    whole, resumed = folder / "whole", folder / "resumed"
    expected = fit(manifest, config, whole, execution)
    for cut in cuts:
        fit_until(cut, manifest, config, resumed, execution)
    model = fit(manifest, config, resumed, execution)
    assert_equal_runs(resumed, whole)
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return resumed


@pytest.mark.parametrize(
    ("decay", "execution", "cuts"),
    [
        (0.0, FLOAT32, [(0, 1, 1)]),
        (0.9, FLOAT32, [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)]),
        (0.0, FLOAT16, [(0, 1, 1)]),
    ],
    ids=["plain weights", "averaged weights, in both stages and between them", "float16 and its scale of the loss"],
)
def test_a_run_that_was_cut_off_equals_an_uninterrupted_one(
    decay: float, execution: Execution, cuts: list[Cut], tiny_data: Manifest, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"average_decay": decay})
    assert_that_cuts_change_nothing(config, cuts, tiny_data, tmp_path, execution)


def test_a_cosine_and_then_a_plateau_with_its_counters_survive(tiny_data: Manifest, tmp_path: Path) -> None:
    """Cut off between the stages, while the plateau counts, and after it has lowered the rate."""
    too_fast = {"unfrozen_layers": 0, "optimizer": "adam", "peak_learning_rate": 10.0, "warmup_epochs": 0}
    second = CONFIG.stages[1].model_copy(update={"epochs": 5, "plateau": Plateau(patience=2), **too_fast})
    config = CONFIG.model_copy(update={"stages": (CONFIG.stages[0], second)})
    run = assert_that_cuts_change_nothing(config, [(1, 0, 0), (1, 3, 1), (1, 4, 0)], tiny_data, tmp_path)
    rates = [float(line.split(",")[2]) for line in (run / "history-1.csv").read_text().splitlines()[1:]]
    assert rates == pytest.approx([10, 10, 10, 10, 8])


def test_early_stopping_and_its_counters_survive(tiny_data: Manifest, tmp_path: Path) -> None:
    """The learning rate lets next to nothing improve: the run stops long before its ninth epoch."""
    stage = CONFIG.stages[0].model_copy(
        update={
            "epochs": 9,
            "unfrozen_layers": 0,
            "peak_learning_rate": 1e-12,
            "warmup_epochs": 0,
            "checkpoint_monitor": "val_accuracy",
            "stopping_monitor": "val_accuracy",
            "patience": 2,
        }
    )
    config = CONFIG.model_copy(update={"stages": (stage,)})
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    fit(tiny_data, config, whole)
    history = (whole / "history-0.csv").read_text()
    accuracies = [float(line.split(",")[4]) for line in history.splitlines()[1:]]
    assert len(accuracies) == accuracies.index(max(accuracies)) + 1 + 2 < 9

    fit_until((0, len(accuracies) - 1, 0), tiny_data, config, resumed)
    fit(tiny_data, config, resumed)
    assert_equal_runs(resumed, whole)

    # Cut off after the last epoch, before it was said that the stage is done.
    (resumed / "stage-0.done").unlink()
    (resumed / "history-0.csv").unlink()
    fit(tiny_data, config, resumed)
    assert (resumed / "history-0.csv").read_text() == history
    assert (resumed / "stage-0.done").exists()
