"""Fixtures that the tests of training and the contract tests share."""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import pytest

import training.fit
from app.artifact import Artifact
from tests.training.tiny import CONFIG, STAGE, TINY, export_tiny, make_data
from training.backbones import BACKBONES
from training.config import Execution, FitConfig, Stage, StudyConfig
from training.manifest import Manifest
from training.study import train
from training.study_folder import Study, open_study

_COMPILE = training.fit._compile

STUDY: Final = StudyConfig(
    runs=tuple(
        CONFIG.model_copy(update={"recipe": "tiny", "backbone": backbone, "average_decay": 0.9})
        for backbone in ("VGG16", "ResNet50", "NASNetLarge")
    )
)


@dataclass(frozen=True)
class FinishedRun:
    """A tiny run through a stage of 32 and one of 224 pixels, and its export."""

    manifest: Manifest
    config: FitConfig
    run: Path
    artifact: Artifact

    def copy_run(self, folder: Path) -> Path:
        """Copy the run folder into another one: an export notes itself there."""
        return Path(shutil.copytree(self.run, folder / "run"))


@pytest.fixture
def tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let "NASNetMobile" mean the tiny network."""
    monkeypatch.setitem(BACKBONES, "NASNetMobile", TINY)


@pytest.fixture
def tiny_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every backbone be the tiny network."""
    for name in BACKBONES:
        monkeypatch.setitem(BACKBONES, name, TINY)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run training steps without tracing them first, which takes longer than a few steps of a tiny network."""

    monkeypatch.setattr(training.fit, "_compile", compile_eagerly)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A data folder of 48 images; must not be changed."""
    return _data(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A finished and exported run; must not be changed."""
    return _finish(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of three backbones, all of them the tiny network; must not be changed."""
    return _study(tmp_path_factory.getbasetemp())


def compile_eagerly(model: keras.Model, stage: Stage, config: FitConfig, execution: Execution) -> None:
    """Stand for what compiles a model, as the fixture ``eager`` does."""
    _COMPILE(model, stage, config, execution)
    model.run_eagerly = True


# Cached, so that every package that imports these fixtures gets the same run.
@functools.cache
def _data(folder: Path) -> Manifest:
    return make_data(folder / "tiny-data")


@functools.cache
def _study(folder: Path) -> Study:
    with pytest.MonkeyPatch.context() as patch:
        for name in BACKBONES:
            patch.setitem(BACKBONES, name, TINY)
        patch.setattr(training.fit, "_compile", compile_eagerly)
        opened = open_study(folder / "tiny-study", _data(folder), STUDY)
        train(opened, "python -m training study")
        return opened


@functools.cache
def _finish(folder: Path) -> FinishedRun:
    small = STAGE.model_copy(update={"epochs": 6, "peak_learning_rate": 1e-2})
    large = small.model_copy(update={"image_size": 224, "peak_learning_rate": 3e-3})
    config = CONFIG.model_copy(update={"average_decay": 0.9, "stages": (small, large)})
    manifest, run = _data(folder), folder / "tiny-run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "NASNetMobile", TINY)
        patch.setattr(training.fit, "_compile", _COMPILE)  # Whoever asks first, as it is in earnest.
        training.fit.fit(manifest, config, run)
        return FinishedRun(manifest, config, run, export_tiny(run, manifest, folder / "tiny-models"))
