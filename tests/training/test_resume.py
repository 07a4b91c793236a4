"""A run that was cut off and resumed by the same command ends exactly where an uninterrupted one ends."""

from pathlib import Path

import numpy as np
import pytest

import training.fit
from tests.training.tiny import CONFIG, cut_off_at
from training.config import FitConfig
from training.fit import fit
from training.manifest import Manifest

pytestmark = pytest.mark.usefixtures("tiny_backbone", "eager")


class CutOff(Exception):
    pass


def stop_here() -> None:
    raise CutOff


def fit_until(manifest: Manifest, config: FitConfig, run: Path, stage: int, epoch: int, batch: int) -> None:
    """Train, and raise after a batch of an epoch of a stage, each from 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.fit, "EpochProgress", cut_off_at(stage, epoch, batch, stop_here))
        with pytest.raises(CutOff):
            fit(manifest, config, run)


def assert_equal_runs(run: Path, other: Path) -> None:
    histories = sorted(path.name for path in other.glob("history-*.csv"))
    assert sorted(path.name for path in run.glob("history-*.csv")) == histories
    for name in histories:
        assert (run / name).read_text() == (other / name).read_text()
    with np.load(run / "state.npz") as ours, np.load(other / "state.npz") as theirs:
        assert ours.files == theirs.files
        assert [name for name in ours.files if not np.array_equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(
    ("decay", "cuts"),
    [(0.0, [(0, 1, 1)]), (0.9, [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)])],
    ids=["plain weights", "averaged weights, in both stages and between them"],
)
def test_a_run_that_was_cut_off_equals_an_uninterrupted_one(
    decay: float, cuts: list[tuple[int, int, int]], tiny_data: Manifest, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"average_decay": decay})
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    expected = fit(tiny_data, config, whole)
    for stage, epoch, batch in cuts:
        fit_until(tiny_data, config, resumed, stage, epoch, batch)
    model = fit(tiny_data, config, resumed)
    assert_equal_runs(resumed, whole)
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_early_stopping_and_its_counters_survive(tiny_data: Manifest, tmp_path: Path) -> None:
    """The learning rate lets next to nothing improve: the run stops long before its ninth epoch."""
    stage = CONFIG.stages[0].model_copy(
        update={"epochs": 9, "patience": 2, "warmup_epochs": 0, "peak_learning_rate": 1e-12, "train_backbone": False}
    )
    config = CONFIG.model_copy(update={"stages": (stage,), "monitor": "val_accuracy"})
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    fit(tiny_data, config, whole)
    history = (whole / "history-0.csv").read_text()
    accuracies = [float(line.split(",")[4]) for line in history.splitlines()[1:]]
    assert len(accuracies) == accuracies.index(max(accuracies)) + 1 + 2 < 9

    fit_until(tiny_data, config, resumed, stage=0, epoch=len(accuracies) - 1, batch=0)
    fit(tiny_data, config, resumed)
    assert_equal_runs(resumed, whole)

    # Cut off after the last epoch, before it was said that the stage is done.
    (resumed / "stage-0.done").unlink()
    (resumed / "history-0.csv").unlink()
    fit(tiny_data, config, resumed)
    assert (resumed / "history-0.csv").read_text() == history
    assert (resumed / "stage-0.done").exists()
