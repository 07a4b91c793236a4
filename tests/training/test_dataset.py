from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import TrainingError
from app.imaging import to_network_input
from tests.training.folders import write_folder
from training.config import Augmentation, FitConfig
from training.dataset import FeatureDataset, XrayDataset, one_hot
from training.devices import Share
from training.manifest import read_manifest

AUGMENTED = FitConfig(
    batch_size=4,
    mixup_alpha=0.4,
    augmentation=Augmentation(
        mirror_probability=0.5, rotation_degrees=10, contrast=0.2, background_swap_probability=0.5
    ),
)
PLAIN = FitConfig(batch_size=4)


def test_one_hot_follows_the_records(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path / "data", per_class=2))
    assert one_hot(manifest.records).tolist() == [[1, 0]] * 2 + [[0, 1]] * 2


def made_up(count: int = 10, size: int = 32) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Squares, each of a single level of its own, and labels."""
    squares = np.tile(np.arange(count, dtype=np.uint8)[:, None, None] * 20, (1, size, size))
    return squares, np.eye(2, dtype=np.float32)[np.arange(count) % 2]


def dataset(config: FitConfig, epoch: int = 0, *, training: bool = True) -> XrayDataset:
    return XrayDataset(*made_up(), config, training=training, epoch=epoch)


def assert_equal_batches(ours: tuple[NDArray[np.float32], ...], theirs: tuple[NDArray[np.float32], ...]) -> None:
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our, their)


def test_a_batch_does_not_depend_on_the_order_of_asking() -> None:
    data = dataset(AUGMENTED)
    forward = [data[index] for index in range(len(data))]
    for index in reversed(range(len(data))):
        assert_equal_batches(data[index], forward[index])
        assert_equal_batches(dataset(AUGMENTED)[index], forward[index])


def test_a_later_epoch_is_the_same_when_it_is_the_first() -> None:
    data = dataset(AUGMENTED)
    for epoch in range(4):
        for index in range(len(data)):
            assert_equal_batches(data[index], dataset(AUGMENTED, epoch)[index])
        data.on_epoch_end()


@pytest.mark.parametrize("other", [dataset(AUGMENTED, 1), dataset(AUGMENTED.model_copy(update={"seed": 8}))])
def test_another_epoch_or_seed_gives_another_batch(other: XrayDataset) -> None:
    assert (dataset(AUGMENTED)[0][0] != other[0][0]).any()


def test_every_image_comes_once_an_epoch_with_its_label() -> None:
    data = dataset(PLAIN)
    seen = []
    for _ in range(3):
        batches = [data[index] for index in range(len(data))]
        assert [len(images) for images, _ in batches] == [4, 4, 2]
        order = [round(float(image[0, 0, 0]) * 255 / 20) for images, _ in batches for image in images]
        assert sorted(order) == list(range(10))
        assert [int(label.argmax()) for _, labels in batches for label in labels] == [i % 2 for i in order]
        seen.append(order)
        data.on_epoch_end()
    assert seen[0] != seen[1] != seen[2]


def test_validation_is_in_order_and_untouched_by_augmentation() -> None:
    data = dataset(AUGMENTED, training=False)
    squares, labels = made_up()
    for _ in range(2):
        images = np.concatenate([data[index][0] for index in range(len(data))])
        np.testing.assert_array_equal(images, to_network_input(squares))
        np.testing.assert_array_equal(np.concatenate([data[index][1] for index in range(len(data))]), labels)
        data.on_epoch_end()


def test_mixup_mixes_images_as_it_mixes_labels() -> None:
    """Squares of level 0 are class 0, squares of level 255 class 1: pixel and label must stay equal."""
    squares = np.tile(np.array([0, 255], np.uint8)[np.arange(16) % 2, None, None], (1, 32, 32))
    config = FitConfig(batch_size=16, mixup_alpha=1)
    images, labels = XrayDataset(squares, np.eye(2, dtype=np.float32)[np.arange(16) % 2], config, training=True)[0]
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(images[:, 0, 0, 0], labels[:, 1], atol=1e-6)
    assert ((labels > 0.01) & (labels < 0.99)).any()
    assert (images.dtype, labels.dtype) == (np.float32, np.float32)


def test_backgrounds_come_from_any_image_and_labels_from_the_chest() -> None:
    """Squares of level 20 n are of class n mod 2: which image a pixel is of can be read from it."""
    config = FitConfig(batch_size=10, augmentation=Augmentation(background_swap_probability=0.5))
    data = dataset(config)
    swapped, backgrounds = [], Counter[tuple[int, int]]()
    for _ in range(40):
        images, labels = data[0]
        chests, corners = (np.rint(images[:, at, at, 0] * 255 / 20).astype(int) for at in (16, 0))
        assert sorted(chests) == list(range(10))
        np.testing.assert_array_equal(labels.argmax(axis=1), chests % 2)
        swapped.extend(chests != corners)
        backgrounds.update(zip(chests % 2, corners % 2, strict=True))
        data.on_epoch_end()
    assert np.mean(swapped) == pytest.approx(0.5 * 0.9, abs=0.08)  # One in ten is its own background.
    assert [backgrounds[0, 1], backgrounds[1, 0]] == pytest.approx([50, 50], abs=20)  # Of 200 chests of each class.


@pytest.mark.parametrize("config", [AUGMENTED, PLAIN], ids=["augmented and mixed", "plain"])
def test_weights_come_with_their_images(config: FitConfig) -> None:
    """Squares of level 20 n weigh n: pixel and weight must stay in proportion, mixed ones too."""
    squares, labels = made_up()
    still = config.model_copy(update={"augmentation": Augmentation()})
    weights = np.arange(10, dtype=np.float32)
    data = XrayDataset(squares, labels, still, training=True, weights=weights)
    for index in range(len(data)):
        images, _, given = data[index]
        np.testing.assert_allclose(images[:, 0, 0, 0] * 255 / 20, given, atol=1e-5)
    assert len(XrayDataset(squares, labels, still, training=False, weights=weights)[0]) == 2


@pytest.mark.parametrize("first_epoch", [0, 3])
def test_keras_feeds_each_batch_of_each_epoch_once(first_epoch: int) -> None:
    """Also with workers that fetch ahead, in a first and a resumed epoch. Keras counts one epoch on at its start."""
    asked: list[tuple[int, int, int]] = []
    fed: list[int] = []

    class Recorded(XrayDataset):
        def __getitem__(self, index: int) -> tuple[NDArray[np.float32], ...]:
            asked.append((len(fed), self._epoch, index))
            return super().__getitem__(index)

    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    count = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: fed.append(epoch))
    data = Recorded(*made_up(30), PLAIN, training=True, epoch=first_epoch)
    model.fit(data, initial_epoch=first_epoch, epochs=first_epoch + 5, callbacks=[count], verbose=0)
    asked = [ask for ask in asked if ask[1] != first_epoch]  # Keras looks at two batches to learn their shapes.
    assert Counter(asked) == {
        (past, first_epoch + past + 1, index): 1 for past in range(5) for index in range(len(data))
    }


FEATURES = np.arange(20, dtype=np.float32).reshape(10, 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("config", [AUGMENTED, PLAIN], ids=["augmented and mixed", "plain"])
def test_the_shares_of_processes_make_up_the_batches_of_one(config: FitConfig, training: bool) -> None:
    def datasets(share: Share) -> list[XrayDataset | FeatureDataset]:
        images = XrayDataset(*made_up(), config, training=training, epoch=2, share=share)
        return [images, FeatureDataset(FEATURES, made_up()[1], config, training=training, epoch=2, share=share)]

    shares = [datasets(Share(devices=4, processes=2, process=process)) for process in (0, 1)]
    for whole, first, second in zip(datasets(Share(devices=4)), *shares, strict=True):
        assert len(whole) == len(first) == len(second) == (2 if training else 3)
        for index in range(len(whole)):
            parts = zip(first[index], second[index], strict=True)
            assert_equal_batches(tuple(np.concatenate(part) for part in parts), whole[index])


def test_devices_share_what_one_is_fed_but_for_the_rest_that_they_cannot_share() -> None:
    data = XrayDataset(*made_up(), AUGMENTED, training=True, share=Share(devices=2))
    for index in range(3):
        assert_equal_batches(data[index], dataset(AUGMENTED)[index])
    data = XrayDataset(*made_up(), PLAIN, training=True, share=Share(devices=4))
    assert len(data) == 2
    for index in range(2):
        assert_equal_batches(data[index], dataset(PLAIN)[index])


def test_validation_on_several_devices_measures_what_it_does_on_one() -> None:
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
    model.compile("sgd", "mse", weighted_metrics=["accuracy"])
    alone = model.evaluate(dataset(PLAIN, training=False), verbose=0)
    filled_up = XrayDataset(*made_up(), PLAIN, training=False, share=Share(devices=4))
    assert [len(filled_up[index][0]) for index in range(len(filled_up))] == [4, 4, 4]
    assert model.evaluate(filled_up, verbose=0) == pytest.approx(alone, rel=1e-5)


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    with pytest.raises(TrainingError, match="3 devices cannot share a batch of 4 images equally: give a --batch-size"):
        XrayDataset(*made_up(), PLAIN, training=True, share=Share(devices=3))
