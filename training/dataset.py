"""Preprocessed squares to what a network is fed: batches, augmented in training, alike however training is cut off."""

from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from app.imaging import (
    to_network_input,
    to_three_channels,
    to_unit_range,
)
from training.augment import augment, swap_background
from training.config import FitConfig
from training.devices import WHOLE, Share
from training.environment import usable_threads
from training.manifest import LABELS, Record

_QUEUE: Final = 8
"""Batches that are made ahead; at 224 pixels and 128 images each has 77 MB."""


def one_hot(records: Sequence[Record]) -> NDArray[np.float32]:
    """Return labels as float32, shape (N, 2), in the order of ``LABELS``."""
    return np.eye(len(LABELS), dtype=np.float32)[[record.label for record in records]]


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches, with one-hot labels, whose content depends on the seed, the epoch and their index alone.

    So an epoch is the same whether or not training was interrupted before it. Keras shuffles the indices, and
    ends an epoch once before the first: it trains epoch 0 on what is called 1 here.
    """

    def __init__(
        self,
        examples: NDArray[Any],
        labels: NDArray[np.float32],
        config: FitConfig,
        *,
        training: bool,
        epoch: int = 0,
        share: Share = WHOLE,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Build from N examples and labels float32 (N, 2).

        Args:
            examples: What a batch is made of.
            labels: One-hot.
            config: Batch size, seed, augmentation and mixup.
            training: Whether to shuffle, augment and mix.
            epoch: The first to be served.
            share: This process' part of each batch.
            weights: In training, of each example in the loss, (N,); None: all weigh alike.

        Raises:
            TrainingError: The devices cannot share a batch equally.
        """
        super().__init__(workers=_workers() if training else 1, max_queue_size=_QUEUE)
        share.assert_divides(config.batch_size)
        self._examples, self._labels, self._config = examples, labels, config
        self._training, self._epoch, self._share = training, epoch, share
        self._example_weights = weights if training else None

    def __len__(self) -> int:
        """Return the number of batches, the last and smaller one included."""
        return -(-self._served() // self._config.batch_size)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's order and augmentation."""
        self._epoch += 1

    def _served(self) -> int:
        """Return the number of images an epoch, which the devices can share equally.

        Training leaves out the few beyond a multiple, others in each epoch; validation fills up with images of
        weight 0.
        """
        devices = self._share.devices
        return (
            len(self._examples) // devices * devices if self._training else -(-len(self._examples) // devices) * devices
        )

    def _places(self, index: int) -> NDArray[np.intp]:
        first = index * self._config.batch_size
        return np.arange(first, min(first + self._config.batch_size, self._served()))

    def _chosen(self, index: int) -> NDArray[np.intp]:
        """Return which images a batch holds, (B,): in training in the epoch's own order."""
        if self._training:
            return self._rng(0, 0).permutation(len(self._examples))[self._places(index)]
        return np.minimum(self._places(index), len(self._examples) - 1)

    def _weights(self, index: int) -> tuple[NDArray[np.float32], ...]:
        """Return this process' weights, float32 (B,), where images have some or only fill up, otherwise nothing.

        Keras divides the loss by the number of images, those without weight included. So the real ones weigh a
        little above 1.
        """
        if self._example_weights is not None:
            return (self._example_weights[self._share.of(self._chosen(index))],)
        if self._training or self._served() == len(self._examples):
            return ()
        real = self._share.of(self._places(index)) < len(self._examples)
        return (np.where(real, np.float32(self._served() / len(self._examples)), np.float32(0)),)

    def _rng(self, purpose: int, index: int | np.intp) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, self._epoch, purpose, int(index)])


class XrayDataset(_Batches):
    """Batches of network input, from squares uint8 (N, S, S); in training with augmentation and mixup."""

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], ...]:
        """Return this process' images float32 (B, S, S, 3) in 0..1, labels float32 (B, 2), and weights if any."""
        chosen = self._chosen(index)
        ours = self._share.of(chosen)
        if not self._training:
            return to_network_input(self._examples[ours]), self._labels[ours], *self._weights(index)
        if not self._config.mixup_alpha:
            return to_three_channels(self._augmented(ours)), self._labels[ours], *self._weights(index)
        return self._mixed(ours, chosen, self._rng(2, index))

    def _augmented(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return images as they are in this epoch, one channel in 0..1, float32 (B, S, S)."""
        return to_unit_range(np.stack([self._with_background(i) for i in rows]))

    def _with_background(self, row: np.intp) -> NDArray[np.uint8]:
        """Return an image as it is in this epoch, its background perhaps another's, uint8 (S, S)."""
        square, probability = self._augmented_square(row), self._config.augmentation.background_swap_probability
        if probability and (rng := self._rng(3, row)).random() < probability:
            return swap_background(square, self._augmented_square(rng.integers(len(self._examples))), rng)
        return square

    def _augmented_square(self, row: int | np.intp) -> NDArray[np.uint8]:
        return augment(self._examples[row], self._config.augmentation, self._rng(1, row))

    def _mixed(
        self, ours: NDArray[np.intp], batch: NDArray[np.intp], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], ...]:
        """Mix our images with others of the whole batch, before they have three channels; labels and weights too."""
        share = np.float32(rng.beta(self._config.mixup_alpha, self._config.mixup_alpha))
        partners = self._share.of(batch[rng.permutation(len(batch))])
        rows, positions = np.unique(np.concatenate([ours, partners]), return_inverse=True)
        images, (own, other) = self._augmented(rows), np.split(positions, 2)

        def mix(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
            return share * first + (1 - share) * second

        weights = self._example_weights
        return (
            to_three_channels(mix(images[own], images[other])),
            mix(self._labels[ours], self._labels[partners]),
            *([] if weights is None else [mix(weights[ours], weights[partners])]),
        )


class FeatureDataset(_Batches):
    """Batches of a frozen backbone's features, float32 (N, D): of the same images as those of ``XrayDataset``."""

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], ...]:
        """Return this process' features float32 (B, D), labels float32 (B, 2), and weights if any."""
        ours = self._share.of(self._chosen(index))
        return self._examples[ours], self._labels[ours], *self._weights(index)


def _workers() -> int:
    """Return how many batches to make at a time: the larger part of augmentation runs outside Python's lock."""
    return max(2, min(usable_threads(), _QUEUE))
