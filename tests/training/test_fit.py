import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import training.fit
from app.errors import Diverged, TrainingError
from app.imaging import to_network_input
from tests.training.fixtures import FinishedRun
from tests.training.tiny import CONFIG, STAGE
from training.backbones import build_model
from training.config import Augmentation, Execution, FitConfig
from training.dataset import FeatureDataset, XrayDataset, one_hot
from training.fit import fit, load_best, read_config, read_data_digest
from training.manifest import Manifest
from training.splits import split
from training.squares import load_squares
from training.timing import read_timings

pytestmark = pytest.mark.usefixtures("tiny_backbone", "eager")


def config_of(*stages: dict[str, object]) -> FitConfig:
    return CONFIG.model_copy(update={"stages": tuple(STAGE.model_copy(update=stage) for stage in stages)})


def history(run: Path, stage: int = 0) -> list[dict[str, float]]:
    with (run / f"history-{stage}.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_a_finished_run_has_its_files(finished: FinishedRun) -> None:
    assert {path.name for path in finished.run.iterdir()} == {
        "config.json",
        "data.json",
        "execution.json",
        "cache",
        "state.npz",
        "stage-0.done",
        "stage-0.weights.h5",
        "history-0.csv",
        "stage-1.done",
        "best.weights.h5",
        "history-1.csv",
        "timing.json",
        "exported.json",
        "reliability.png",
        "tensorboard",
    }
    assert read_config(finished.run) == finished.config
    assert read_data_digest(finished.run) == finished.manifest.digest


def test_a_finished_run_is_not_trained_again(finished: FinishedRun) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.run.rglob("*")}
    fit(finished.manifest, finished.config, finished.run)
    assert {path: path.stat().st_mtime_ns for path in finished.run.rglob("*")} == before


def test_it_learns_two_textures(finished: FinishedRun) -> None:
    model = load_best(finished.run, finished.config)
    parts = split(finished.manifest, finished.config.split_seed)
    squares = load_squares(finished.manifest.root, parts.test, preprocessing=1)
    answers = model.predict(XrayDataset(squares, one_hot(parts.test), finished.config, training=False), verbose=0)
    assert (answers.argmax(axis=1) == [r.label for r in parts.test]).mean() > 0.9


def test_the_best_weights_are_those_of_the_best_epoch(finished: FinishedRun) -> None:
    """With averaged weights the average was validated, and must be what was saved."""
    model = load_best(finished.run, finished.config)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=finished.config.label_smoothing)
    model.compile(loss=loss, metrics=["accuracy"])
    records = split(finished.manifest, finished.config.split_seed).validation
    data = XrayDataset(
        load_squares(finished.manifest.root, records, preprocessing=1),
        one_hot(records),
        finished.config,
        training=False,
    )
    measured = model.evaluate(data, return_dict=True, verbose=0)
    best = min(history(finished.run, 1), key=lambda row: row["val_loss"])
    assert measured["loss"] == pytest.approx(best["val_loss"], rel=1e-4)
    assert measured["accuracy"] == pytest.approx(best["val_accuracy"])


@pytest.mark.parametrize("version", [1, 2])
def test_it_learns_from_squares_of_the_recipe_s_version(version: int, tiny_data: Manifest, tmp_path: Path) -> None:
    config = config_of({"epochs": 1, "warmup_epochs": 0}).model_copy(update={"preprocessing": version})
    fit(tiny_data, config, tmp_path)
    used = {path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    parts = split(tiny_data, config.split_seed)
    for records in (parts.train, parts.validation):
        load_squares(tiny_data.root, records, tmp_path / "expected", STAGE.image_size, preprocessing=version)
    assert used == {path.read_bytes() for path in (tmp_path / "expected").iterdir()}
    assert len(used) == 2


def test_the_learning_rate_follows_the_schedule_of_each_stage(tiny_data: Manifest, tmp_path: Path) -> None:
    fit(tiny_data, config_of({"epochs": 3}, {"epochs": 2, "schedule_epochs": 9, "warmup_epochs": 0}), tmp_path)
    assert [row["learning_rate"] for row in history(tmp_path, 0)] == pytest.approx([1.5e-3, 3e-3, 1e-6])
    falling = [row["learning_rate"] for row in history(tmp_path, 1)]
    assert falling[0] == pytest.approx(3e-3)
    assert 2.5e-3 < falling[1] < 3e-3


def test_a_frozen_backbone_does_not_change(tiny_data: Manifest, tmp_path: Path) -> None:
    config = config_of({"epochs": 1, "unfrozen_layers": 0, "warmup_epochs": 0})
    trained = fit(tiny_data, config, tmp_path)
    keras.utils.set_random_seed(config.seed)
    start = build_model(config, 32)
    for name, equal in (("backbone", True), ("head_dense_1", False), ("head_bn_1", False)):
        weights = zip(trained.get_layer(name).get_weights(), start.get_layer(name).get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in weights) is equal


def test_of_a_backbone_unfrozen_in_part_only_the_last_layers_change(tiny_data: Manifest, tmp_path: Path) -> None:
    """Batch normalisation keeps its moving statistics too: it works with them in training."""
    trained = fit(tiny_data, config_of({"epochs": 1, "unfrozen_layers": 3, "warmup_epochs": 0}), tmp_path)
    keras.utils.set_random_seed(CONFIG.seed)
    backbone, start = (model.get_layer("backbone") for model in (trained, build_model(CONFIG, 32)))
    changed = [
        weight.path
        for weight, before in zip(backbone.weights, start.weights, strict=True)
        if not np.array_equal(weight, before)
    ]
    assert changed == ["conv_2/kernel"]


def test_xla_is_a_setting_of_execution(tiny_data: Manifest, tmp_path: Path) -> None:
    config = config_of({"epochs": 1, "warmup_epochs": 0})
    assert fit(tiny_data, config, tmp_path, Execution(xla=True)).jit_compile
    assert json.loads((tmp_path / "execution.json").read_text()) == {
        "precision": "float32",
        "float16_softmax": False,
        "xla": True,
        "devices": 1,
    }


def test_a_batch_that_devices_cannot_share_is_refused_before_the_folder_is_claimed(
    tiny_data: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="3 devices cannot share a batch of 16 images"):
        fit(tiny_data, CONFIG, tmp_path / "run", Execution(devices=3))
    assert not (tmp_path / "run").exists()


def test_another_execution_in_the_same_folder_is_refused(tiny_data: Manifest, tmp_path: Path) -> None:
    begin(tmp_path, "execution.json", Execution(precision="mixed_bfloat16").model_dump_json())
    with pytest.raises(TrainingError, match=r"execution\.json precision is mixed_bfloat16 there and float32 here"):
        fit(tiny_data, CONFIG, tmp_path)


def test_the_epoch_is_chosen_by_one_measure_and_the_end_by_another(tiny_data: Manifest, tmp_path: Path) -> None:
    stage = {"epochs": 9, "patience": 2, "checkpoint_monitor": "val_accuracy", "stopping_monitor": "val_loss"}
    config = config_of({**stage, "warmup_epochs": 0, "optimizer": "adam", "peak_learning_rate": 0.03})
    model = fit(tiny_data, config, tmp_path)
    rows = history(tmp_path)
    losses, accuracies = ([row[name] for row in rows] for name in ("val_loss", "val_accuracy"))
    assert len(rows) == min(losses.index(min(losses)) + 1 + 2, 9)
    records = split(tiny_data, config.split_seed).validation
    squares = load_squares(tiny_data.root, records, size=32, preprocessing=1)
    data = XrayDataset(squares, one_hot(records), config, training=False)
    measured = model.evaluate(data, return_dict=True, verbose=0)["loss"]
    assert measured == pytest.approx(losses[accuracies.index(max(accuracies))], rel=1e-4)


def test_a_stage_begins_with_the_best_weights_of_the_last(tiny_data: Manifest, tmp_path: Path) -> None:
    still = {
        "epochs": 1,
        "unfrozen_layers": 0,
        "warmup_epochs": 0,
        "peak_learning_rate": 1e-12,
        "final_learning_rate": 0.0,
    }
    model = fit(tiny_data, config_of({}, still), tmp_path)
    before = build_model(CONFIG, 32)
    before.load_weights(tmp_path / "stage-0.weights.h5")
    for name in ("backbone", "head_dense_1", "probabilities"):
        for ours, theirs in zip(model.get_layer(name).get_weights(), before.get_layer(name).get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def begin(run: Path, name: str, content: str) -> None:
    """Leave what a run leaves that has finished an epoch."""
    (run / name).write_text(content)
    (run / "state.npz").touch()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 8}, "config.json batch_size is 16 there and 8 here"),
        ({"head": CONFIG.head.model_copy(update={"dropout": 0.5})}, "head.dropout is 0.2 there and 0.5 here"),
        ({"stages": (STAGE,)}, "stages.1 is there and not here"),
        ({"seed": 8, "weights": "imagenet"}, "weights is random there and imagenet here; seed is 7 there and 8 here"),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused(
    change: dict[str, object], said: str, tiny_data: Manifest, tmp_path: Path
) -> None:
    begin(tmp_path, "config.json", CONFIG.model_dump_json())
    with pytest.raises(TrainingError, match=r"holds another run: .*Give another --out") as caught:
        fit(tiny_data, CONFIG.model_copy(update=change), tmp_path)
    assert said in str(caught.value)
    assert json.loads((tmp_path / "config.json").read_text()) == CONFIG.model_dump(mode="json")


def test_other_data_in_the_same_folder_are_refused(tiny_data: Manifest, tmp_path: Path) -> None:
    begin(tmp_path, "data.json", json.dumps({"manifest": "0123"}))
    with pytest.raises(TrainingError, match=f"manifest is 0123 there and {tiny_data.digest} here"):
        fit(tiny_data, CONFIG, tmp_path)


def test_an_unfinished_run_has_no_best_weights(tmp_path: Path) -> None:
    (tmp_path / "best.weights.h5").touch()
    with pytest.raises(TrainingError, match=r"no finished training: stage-1\.done is missing"):
        load_best(tmp_path, CONFIG)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not a run folder: config\.json is missing"):
        read_config(tmp_path)


def test_a_stages_own_augmentation_replaces_the_runs(tiny_data: Manifest, tmp_path: Path) -> None:
    parts = split(tiny_data, CONFIG.split_seed)
    run = training.fit._Run(tiny_data, parts, CONFIG, Execution(), tmp_path, tmp_path / "cache", ())
    plain = STAGE.model_copy(update={"augmentation": Augmentation(), "mixup_alpha": 0.0})
    squares = to_network_input(load_squares(tiny_data.root, parts.train, size=32, preprocessing=1))
    for stage, untouched in ((STAGE, False), (plain, True)):
        images, _ = training.fit._data(keras.Model(), run, stage, epoch=0)[0][0]
        assert all((image == squares).all(axis=(1, 2, 3)).any() for image in images) is untouched


def test_features_of_a_frozen_backbone_are_computed_once(tiny_data: Manifest, tmp_path: Path) -> None:
    """And training goes as if the images went through the backbone in every epoch."""
    plain = CONFIG.model_copy(update={"augmentation": Augmentation(), "mixup_alpha": 0.0})
    frozen = STAGE.model_copy(update={"unfrozen_layers": 0, "epochs": 3})
    config = plain.model_copy(update={"stages": (frozen,)})
    assert config.has_constant_features(frozen)
    served: list[type] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in (XrayDataset, FeatureDataset):
            patch.setattr(kind, "__getitem__", noting(kind, served))
        once = fit(tiny_data, config, tmp_path / "once")
    first = served.index(FeatureDataset)
    assert set(served[:first]) == {XrayDataset}
    assert set(served[first:]) == {FeatureDataset}  # From the first epoch on no image is asked for.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitConfig, "has_constant_features", lambda *_: False)
        every = fit(tiny_data, config, tmp_path / "every")
    for ours, theirs in zip(once.get_weights(), every.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    for ours, theirs in zip(history(tmp_path / "once"), history(tmp_path / "every"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def noting(kind: type, served: list[type]) -> Callable[[Any, int], Any]:
    get = kind.__getitem__

    def noted(self: Any, index: int) -> Any:
        served.append(kind)
        return get(self, index)

    return noted


@pytest.mark.parametrize(
    "change",
    [
        {"unfrozen_layers": 3},
        {"unfrozen_layers": "all"},
        {"augmentation": Augmentation(contrast=0.1)},
        {"mixup_alpha": 1.0},
    ],
    ids=str,
)
def test_features_that_change_are_not_computed_once(change: dict[str, Any]) -> None:
    stage = STAGE.model_copy(update={"unfrozen_layers": 0, "augmentation": Augmentation(), "mixup_alpha": 0.0})
    assert CONFIG.has_constant_features(stage)
    assert not CONFIG.has_constant_features(stage.model_copy(update=change))


def test_a_training_that_diverges_says_so(tiny_data: Manifest, tmp_path: Path) -> None:
    config = config_of({"epochs": 2, "peak_learning_rate": 1e38, "warmup_epochs": 0, "optimizer": "adam"})
    with pytest.raises(Diverged, match="stage 1 of 1 of unnamed/NASNetMobile/7 diverged: no epoch ended with a finite"):
        fit(tiny_data, config, tmp_path)
    assert not (tmp_path / "best.weights.h5").exists()


def test_a_folder_in_which_nothing_was_finished_is_free_for_another_run(tiny_data: Manifest, tmp_path: Path) -> None:
    """Nobody has to give another folder because the first try named weights that are not there."""
    missing = CONFIG.model_copy(update={"weights": str(tmp_path / "missing.h5")})
    with pytest.raises(TrainingError, match="no weights file"):
        fit(tiny_data, missing, tmp_path / "run")
    fit(tiny_data, config_of({"epochs": 1}), tmp_path / "run")
    with pytest.raises(TrainingError, match="holds another run"):
        fit(tiny_data, missing, tmp_path / "run")


def test_weights_that_are_not_whole_are_named(finished: FinishedRun, tmp_path: Path) -> None:
    run = finished.copy_run(tmp_path)
    best = run / "best.weights.h5"
    best.write_bytes(best.read_bytes()[:2000])
    with pytest.raises(TrainingError, match=r"best\.weights\.h5 cannot be read as this run's weights"):
        load_best(run, finished.config)


def test_the_time_of_each_epoch_is_kept(finished: FinishedRun) -> None:
    timings = read_timings(finished.run / "timing.json")
    assert [(t.stage, t.epoch) for t in timings] == [(stage, epoch) for stage in (0, 1) for epoch in range(6)]
    assert {t.images for t in timings} == {len(split(finished.manifest, finished.config.split_seed).train)}
    assert all(0 < t.train_seconds <= t.seconds for t in timings)


def test_tensorboard_has_the_metrics_of_each_stage(finished: FinishedRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    for stage in (0, 1):
        events = EventAccumulator(str(finished.run / "tensorboard" / f"stage-{stage}" / "validation"))
        events.Reload()
        logged = [float(make_ndarray(tensor.tensor_proto)) for tensor in events.Tensors("epoch_loss")]
        assert logged == pytest.approx([row["val_loss"] for row in history(finished.run, stage)], rel=1e-5)
