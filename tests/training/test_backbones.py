from typing import Any

import keras
import numpy as np
import pytest

from tests.training.tiny import CONFIG, tiny_network
from training.backbones import BACKBONES, Backbone, build_model, unfreeze
from training.config import BackboneName, Execution, FitConfig, Head, Precision

HEAD = [
    "head_bn_1",
    "head_dense_1",
    "head_bn_2",
    "head_dropout",
    "head_dense_2",
    "head_bn_3",
    "probabilities",
]


def wide_network(*, input_shape: tuple[int, int, int], name: str, **_: Any) -> keras.Model:
    """As many features as NASNetLarge has, 4,032, and hardly more."""
    image = keras.Input(input_shape)
    return keras.Model(image, keras.layers.Conv2D(4032, 1, strides=32)(image), name=name)


@pytest.fixture
def model(tiny_backbone: None) -> keras.Model:
    return build_model(CONFIG, 64)


def test_layers_have_the_names_that_the_export_goes_by(model: keras.Model) -> None:
    assert [layer.name for layer in model.layers] == ["image", "scaling", "backbone", "features", *HEAD]


def test_answers_probabilities_for_any_batch(model: keras.Model) -> None:
    answer = np.asarray(model(np.random.default_rng(0).random((5, 64, 64, 3), np.float32)))
    assert (answer.shape, answer.dtype) == ((5, 2), np.float32)
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-6)


def test_the_head_is_that_of_the_study(model: keras.Model) -> None:
    assert [model.get_layer(f"head_dense_{n}").units for n in (1, 2)] == [512, 256]
    assert model.get_layer("head_dropout").rate == 0.2
    penalty = model.get_layer("head_dense_1").kernel_regularizer
    assert (float(penalty.l1), float(penalty.l2)) == (pytest.approx(1e-5), pytest.approx(1e-4))
    assert model.get_layer("head_dense_2").kernel_regularizer is None


def test_moving_statistics_are_those_of_keras_unless_the_recipe_says_otherwise(tiny_backbone: None) -> None:
    names = [f"head_bn_{number}" for number in (1, 2, 3)]
    ours = build_model(CONFIG.model_copy(update={"head": Head(batch_norm_momentum=0.9)}), 64)
    assert [ours.get_layer(name).momentum for name in names] == [0.9] * 3
    assert [build_model(CONFIG, 64).get_layer(name).momentum for name in names] == [0.99] * 3


def test_the_head_on_nasnetlarge_has_the_studys_number_of_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """87,132,756 in all, 84,916,818 of them NASNetLarge's without its top, and 2,206,338 trainable."""
    monkeypatch.setitem(BACKBONES, "NASNetLarge", Backbone(wide_network, "tf", ""))
    model = build_model(FitConfig(weights="random"), 32)
    backbone = model.get_layer("backbone")
    backbone.trainable = False
    assert model.count_params() - backbone.count_params() == 87_132_756 - 84_916_818
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == 2_206_338


@pytest.mark.parametrize(
    ("name", "preprocess_input"),
    [
        ("VGG16", keras.applications.vgg16.preprocess_input),
        ("ResNet50", keras.applications.resnet50.preprocess_input),
        ("NASNetLarge", keras.applications.nasnet.preprocess_input),
        ("NASNetMobile", keras.applications.nasnet.preprocess_input),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_scaling_is_what_the_imagenet_weights_want(
    name: BackboneName, preprocess_input: Any, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 in either precision: bfloat16 would merge neighbouring grey levels before they are scaled."""
    monkeypatch.setitem(BACKBONES, name, Backbone(tiny_network, BACKBONES[name].scaling, ""))
    config = FitConfig(backbone=name, weights="random")
    scaling = build_model(config, 64, execution=Execution(precision=precision)).get_layer("scaling")
    levels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    scaled = np.asarray(scaling(levels / 255))
    np.testing.assert_allclose(scaled, preprocess_input(levels.copy()), atol=1e-4)


@pytest.mark.parametrize(("scaling", "largest"), [("none", 1.0), ("second_division", 1 / 255)])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.usefixtures("tiny_backbone")
def test_the_backbone_sees_the_scaling_of_the_recipe(scaling: str, largest: float, precision: Precision) -> None:
    """The study divided 0..1 by 255 once more: its backbone saw 0..0.0039."""
    config = CONFIG.model_copy(update={"scaling": scaling})
    model = build_model(config, 32, execution=Execution(precision=precision))
    levels = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16, 1)
    images = np.broadcast_to(levels.repeat(2, 1).repeat(2, 2), (1, 32, 32, 3))
    seen = np.asarray(model.get_layer("scaling")(images))
    np.testing.assert_allclose(seen, images * largest, rtol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.usefixtures("tiny_backbone")
def test_covered_corners_have_the_mean_of_the_inscribed_circle(precision: Precision) -> None:
    config = CONFIG.model_copy(update={"cover_corners": True, "scaling": "none"})
    model = build_model(config, 64, execution=Execution(precision=precision))
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    seen = np.asarray(model.get_layer("scaling")(images))
    from_middle = np.abs(np.arange(64) - 31.5)
    inside = from_middle**2 + from_middle[:, np.newaxis] ** 2 <= 32**2
    np.testing.assert_allclose(seen[:, inside], images[:, inside], atol=1e-6)
    means = images[:, inside].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(seen[:, ~inside], np.broadcast_to(means, seen[:, ~inside].shape), atol=1e-5)
    assert inside.mean() == pytest.approx(np.pi / 4, abs=0.01)


@pytest.mark.parametrize(
    ("layers", "learning"),
    [
        (0, []),
        (1, []),
        (3, ["conv_2"]),
        (6, ["conv_1", "conv_2"]),
        (54, ["conv_1", "conv_2"]),
        ("all", ["bn_1", "bn_2", "conv_1", "conv_2"]),
    ],
)
def test_the_last_layers_learn_save_batch_normalisation(layers: Any, learning: list[str], model: keras.Model) -> None:
    backbone = model.get_layer("backbone")
    for before in ("all", 0, layers):
        unfreeze(backbone, before)
    assert sorted(layer.name for layer in backbone.layers if layer.trainable_weights) == learning
    head = sum(len(model.get_layer(name).trainable_weights) for name in HEAD)
    assert len(model.trainable_weights) == head + len(backbone.trainable_weights)


@pytest.mark.parametrize(
    ("execution", "compute", "softmax"),
    [
        (Execution(), "float32", "float32"),
        (Execution(precision="mixed_bfloat16"), "bfloat16", "float32"),
        (Execution(precision="mixed_float16"), "float16", "float32"),
        (Execution(precision="mixed_float16", float16_softmax=True), "float16", "float16"),
    ],
    ids=["float32", "bfloat16", "float16", "float16 softmax"],
)
@pytest.mark.usefixtures("tiny_backbone")
def test_the_precision_is_that_of_every_layer_but_scaling_and_softmax(
    execution: Execution, compute: str, softmax: str
) -> None:
    model = build_model(CONFIG, 32, execution=execution)
    layers = [*model.layers, *model.get_layer("backbone").layers]
    others = {layer.compute_dtype for layer in layers if layer.name not in ("image", "scaling", "probabilities")}
    assert others == {compute}
    assert model.get_layer("scaling").compute_dtype == "float32"
    assert model.get_layer("probabilities").compute_dtype == softmax
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"  # Of whatever is built next.


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.usefixtures("tiny_backbone")
def test_the_momentum_of_batch_normalisation_is_set_in_the_backbone_alone(momentum: float | None) -> None:
    model = build_model(CONFIG.model_copy(update={"batch_norm_momentum": momentum}), 32)
    assert model.get_layer("backbone").get_layer("bn_1").momentum == (momentum or 0.99)
    assert model.get_layer("head_bn_1").momentum == 0.99


def test_the_applications_accept_how_they_are_called() -> None:
    """VGG16 is the smallest to build: the others are called alike."""
    model = build_model(FitConfig(backbone="VGG16", weights="random"), 32)
    assert model.get_layer("features").output.shape == (None, 512)


@pytest.mark.usefixtures("tiny_backbone")
def test_equal_seeds_give_equal_weights() -> None:
    def weights(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed)
        return build_model(CONFIG, 32).get_weights()

    first, again, other = weights(7), weights(7), weights(8)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
