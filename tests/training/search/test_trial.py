from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import tensorflow as tf
from optuna.trial import TrialState

import training.search.trial
from app.errors import TrainingError
from app.imaging import to_network_input
from tests.training.tiny import CONFIG, STAGE
from training.backbones import build_model
from training.config import Execution, FitConfig
from training.fit import read_config
from training.manifest import Manifest
from training.search.space import search_space, with_parameters
from training.search.trial import NOTE, EpochWatch, Objective, kept_accuracy, ran_out_of_memory
from training.splits import split
from training.squares import load_squares

pytestmark = pytest.mark.usefixtures("tiny_backbone", "eager")


def config_of(*stages: dict[str, object]) -> FitConfig:
    return CONFIG.model_copy(update={"stages": tuple(STAGE.model_copy(update=stage) for stage in stages)})


def objective(manifest: Manifest, base: FitConfig, folder: Path) -> Objective:
    return Objective(manifest, base, search_space(base), Execution(), folder / "trials", folder / "cache")


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(1))


def test_a_trials_value_is_the_validation_accuracy_of_the_weights_that_it_keeps(
    tiny_data: Manifest, tmp_path: Path, study: optuna.Study
) -> None:
    base = config_of({"epochs": 3, "warmup_epochs": 0})
    study.optimize(objective(tiny_data, base, tmp_path), n_trials=1)
    [trial] = study.trials
    config = with_parameters(base, trial.params)
    assert read_config(tmp_path / "trials" / "0") == config

    records = split(tiny_data, base.split_seed).validation
    model = build_model(config, STAGE.image_size)
    model.load_weights(tmp_path / "trials" / "0" / "best.weights.h5")
    answers = model.predict(
        to_network_input(load_squares(tiny_data.root, records, size=STAGE.image_size, preprocessing=1)), verbose=0
    )
    assert trial.value == pytest.approx(np.mean(answers.argmax(axis=1) == [record.label for record in records]))
    assert list(trial.intermediate_values) == [0, 1, 2]


def test_each_trial_has_settings_of_its_own_and_a_second_study_the_same(
    tiny_data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: Any, callbacks: list[EpochWatch], **__: Any) -> None:
        callbacks[0].on_train_begin()
        callbacks[0].on_epoch_end(0, {"val_accuracy": 0.5, "val_loss": 0.7})

    monkeypatch.setattr(training.search.trial, "fit", fit)
    settings = []
    for seed in (7, 7, 8):
        study = optuna.create_study(direction="maximize")
        # More than the ten random ones that a search begins with.
        for _ in range(12):
            base = CONFIG.model_copy(update={"seed": seed})
            study.optimize(objective(tiny_data, base, tmp_path), n_trials=1)
        settings.append([str(trial.params) for trial in study.trials])
    assert settings[0] == settings[1] != settings[2]
    assert len(set(settings[0])) == 12


def test_only_training_and_validation_images_are_read(
    tiny_data: Manifest, tmp_path: Path, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = set()

    def recording(root: Path, records: Any, *rest: Any, **named: Any) -> Any:
        read.update(record.path for record in records)
        return load_squares(root, records, *rest, **named)

    monkeypatch.setattr(training.fit, "load_squares", recording)
    study.optimize(objective(tiny_data, config_of({"epochs": 1, "warmup_epochs": 0}), tmp_path), n_trials=1)
    parts = split(tiny_data, CONFIG.split_seed)
    assert read == {record.path for record in (*parts.train, *parts.validation)}


def test_a_trial_that_falls_behind_the_median_is_pruned(
    tiny_data: Manifest, tmp_path: Path, study: optuna.Study
) -> None:
    base = config_of({"epochs": 9, "warmup_epochs": 0, "peak_learning_rate": 1e-12, "final_learning_rate": 0.0})
    good = dict.fromkeys(range(9), 1.0)
    study.add_trial(optuna.create_trial(value=1.0, intermediate_values=good))
    study.optimize(objective(tiny_data, base, tmp_path), n_trials=1)
    trial = study.trials[1]
    assert trial.state == TrialState.PRUNED
    assert list(trial.intermediate_values) == [0]
    assert trial.user_attrs[NOTE] == "worse than the median in stage 1, epoch 1"


def test_a_trial_that_diverges_is_pruned(tiny_data: Manifest, tmp_path: Path, study: optuna.Study) -> None:
    base = config_of({"epochs": 9, "warmup_epochs": 0, "peak_learning_rate": 1e36, "final_learning_rate": 1e35})
    study.optimize(objective(tiny_data, base, tmp_path), n_trials=1)
    [trial] = study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs[NOTE].startswith("diverged in stage 1, epoch 1: validation loss ")
    assert trial.intermediate_values == {}


def test_steps_are_epochs_as_if_earlier_stages_had_their_full_length(study: optuna.Study) -> None:
    stages = [STAGE.model_copy(update={"epochs": epochs}) for epochs in (5, 4, 3)]
    trial = study.ask()
    watch = EpochWatch(trial, stages)
    for epochs in (2, 4, 1):
        watch.on_train_begin()
        for epoch in range(epochs):
            watch.on_epoch_end(epoch, {"val_accuracy": 0.1 * epoch, "val_loss": 1.0})
    assert list(study.trials[0].intermediate_values) == [0, 1, 5, 6, 7, 8, 9]
    assert watch.history == [{"val_accuracy": 0.0, "val_loss": 1.0}]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[128,4032,7,7]"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7482638336 bytes."),
        tf.errors.InternalError(None, None, "Failed to allocate: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    ],
    ids=["the machine's", "TensorFlow's", "JAX's", "CUDA's"],
)
def test_a_trial_that_runs_out_of_memory_is_pruned_and_the_search_goes_on(
    error: Exception, tiny_data: Manifest, tmp_path: Path, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(training.search.trial, "fit", fit)
    study.optimize(objective(tiny_data, CONFIG, tmp_path), n_trials=2)
    assert [(trial.state, trial.user_attrs[NOTE]) for trial in study.trials] == [
        (TrialState.PRUNED, "out of memory")
    ] * 2


def test_another_error_is_no_lack_of_memory() -> None:
    assert not ran_out_of_memory(ValueError("the model has no room in this test"))


@pytest.mark.parametrize("error", [TrainingError("There are no weights."), KeyboardInterrupt()], ids=["cause", "key"])
def test_what_ends_the_search_leaves_the_settings_to_be_tried_again(
    error: BaseException, tiny_data: Manifest, tmp_path: Path, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(training.search.trial, "fit", fit)
    with pytest.raises(type(error)):
        study.optimize(objective(tiny_data, CONFIG, tmp_path), n_trials=1)
    failed, again = study.trials
    assert (failed.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    assert again.system_attrs["fixed_params"] == failed.params


@pytest.mark.parametrize(("monitor", "expected"), [("val_accuracy", 0.9), ("val_loss", 0.8)])
def test_the_kept_epoch_is_the_first_that_is_best_by_the_stages_measure(monitor: Any, expected: float) -> None:
    epochs = [(0.5, 0.7), (0.8, 0.3), (0.9, 0.4), (0.85, 0.3)]
    history = [{"val_accuracy": accuracy, "val_loss": loss} for accuracy, loss in epochs]
    assert kept_accuracy(history, monitor) == expected
