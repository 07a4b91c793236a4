"""Where the initial weights of a backbone come from, and what is said when they cannot be had."""

import inspect
import os
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.backend.config import keras_home

from app.errors import TrainingError
from tests.training.tiny import CONFIG, TINY, tiny_network
from training.backbones import BACKBONES, build_model
from training.config import FitConfig

pytestmark = pytest.mark.usefixtures("tiny_backbone")


def network(*filters: int, name: str = "backbone") -> keras.Model:
    image = x = keras.Input((32, 32, 3))
    for number, count in enumerate(filters, start=1):
        x = keras.layers.Conv2D(count, 5, 4, padding="same", use_bias=False, name=f"conv_{number}")(x)
        x = keras.layers.BatchNormalization(name=f"bn_{number}")(x)
    return keras.Model(image, x, name=name)


def save_legacy(model: keras.Model, path: Path) -> None:
    """Write the HDF5 layout of the files that Keras offers for its applications."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def save(model: keras.Model, path: Path) -> None:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        save_legacy(model, path)


def load(path: Path | str) -> keras.Model:
    return build_model(CONFIG.model_copy(update={"weights": str(path)}), 64).get_layer("backbone")


FORMATS = pytest.mark.parametrize("name", ["tiny.weights.h5", "tiny.h5"], ids=["keras 3", "legacy"])


@FORMATS
def test_a_weights_file_is_loaded_into_the_backbone(name: str, tmp_path: Path) -> None:
    saved = tiny_network(include_top=False, input_shape=(32, 32, 3), name="other")
    save(saved, tmp_path / name)
    for ours, theirs in zip(load(tmp_path / name).get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "filters", "layer"),
    [
        ("wider.weights.h5", (8, 12), "conv_2"),
        ("wider.h5", (8, 12), "conv_2"),
        ("shorter.weights.h5", (8,), "conv_2"),
        ("shorter.h5", (8,), "conv_2 in the backbone, None in the file"),
        ("longer.h5", (8, 16, 4), "None in the backbone, conv_3 in the file"),
    ],
)
def test_a_file_that_does_not_fit_names_the_first_layer_that_differs(
    name: str, filters: tuple[int, ...], layer: str, tmp_path: Path
) -> None:
    save(network(*filters), tmp_path / name)
    with pytest.raises(TrainingError, match=rf"{name} does not fit the backbone: .*{layer}") as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["text.h5", "text.weights.h5", "text.bin"])
def test_a_file_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("not weights")
    with pytest.raises(TrainingError, match=f"{name} does not fit"):
        load(tmp_path / name)


@pytest.mark.parametrize("weights", ["absent.weights.h5", "."])
def test_a_missing_file_is_named(weights: str, tmp_path: Path) -> None:
    path = tmp_path / weights
    with pytest.raises(TrainingError, match=r"no weights file .* 'imagenet', 'random' or a \.h5 file"):
        load(path)


def test_without_a_network_it_is_said_which_file_to_put_where() -> None:
    expected = Path(keras_home()) / "models" / TINY.imagenet_file
    with pytest.raises(TrainingError) as caught:
        load("imagenet")
    message = str(caught.value)
    assert "URL fetch failure on http://127.0.0.1:9/tiny-no-top.h5" in message
    assert f"put it here as {expected}, or pass --weights FILE" in message


def test_a_real_application_names_the_file_that_keras_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = []

    def refuse(address: str, target: str, _: Any) -> None:
        wanted.append(Path(target))
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    with pytest.raises(TrainingError) as caught:
        build_model(FitConfig(backbone="VGG16"), 32)
    assert f"put it here as {wanted[0]}," in str(caught.value)


@pytest.mark.parametrize("name", ["NASNetLarge", "NASNetMobile"])
def test_keras_still_knows_the_names_of_the_files(name: str) -> None:
    from keras.src.applications import nasnet

    entry = BACKBONES[name].imagenet_file if name == "NASNetLarge" else "nasnet_mobile_no_top.h5"
    assert f'"{entry}"' in inspect.getsource(nasnet)


@pytest.mark.parametrize("damage", ["Incomplete or corrupted file detected. The md5 file hash does not match"])
def test_a_damaged_download_is_said(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_file(*_: Any, **__: Any) -> str:
        raise ValueError(damage)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(TrainingError, match=damage):
        load("imagenet")


def test_other_errors_of_an_application_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_file(*_: Any, **__: Any) -> str:
        raise ValueError("a bug")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(ValueError, match="a bug"):
        load("imagenet")


LOAD_FROM_KERAS_HOME = """
import numpy as np
from tests.training.tiny import CONFIG, TINY
from training.backbones import BACKBONES, _keras_models_folder, build_model
BACKBONES["NASNetMobile"] = TINY
print(_keras_models_folder())
print(build_model(CONFIG.model_copy(update={"weights": "imagenet"}), 64).get_layer("backbone").get_weights()[0].sum())
"""


def test_a_file_put_into_keras_home_is_loaded(tmp_path: Path) -> None:
    saved = tiny_network(include_top=False, input_shape=(32, 32, 3), name="other")
    (tmp_path / "models").mkdir()
    save_legacy(saved, tmp_path / "models" / TINY.imagenet_file)
    result = subprocess.run(
        [sys.executable, "-c", LOAD_FROM_KERAS_HOME],
        env={**os.environ, "KERAS_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    folder, total = result.stdout.splitlines()
    assert Path(folder) == tmp_path / "models"
    assert float(total) == pytest.approx(saved.get_weights()[0].sum(), rel=1e-5)
