"""Manifest to network input: decode and preprocess once, keep uint8 squares, feed batches."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import TrainingError
from app.imaging import (
    IMAGE_SIZE,
    PREPROCESSING_VERSION,
    to_network_input,
    to_square,
    to_three_channels,
    to_unit_range,
)
from training.augment import augment
from training.config import FitConfig
from training.devices import WHOLE, Share
from training.images import map_images
from training.manifest import LABELS, Record


def load_squares(
    root: Path, records: Sequence[Record], cache: Path | None = None, size: int = IMAGE_SIZE
) -> NDArray[np.uint8]:
    """Decode and preprocess images, or read the result of an earlier call.

    Args:
        root: The data folder.
        records: Which images.
        cache: Folder for the result, named by a digest of everything it depends on; None: no cache.
        size: Side of the squares in pixels.

    Returns:
        Grey levels, uint8, shape (N, size, size), in the order of the records.

    Raises:
        TrainingError: Images cannot be read; the message names them.
    """
    key = "\n".join([f"preprocessing {PREPROCESSING_VERSION}, size {size}", *(r.sha256 for r in records)])
    path = cache / f"squares-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy" if cache else None
    if path and path.exists():
        return np.asarray(np.load(path))
    squares = np.stack(map_images(root, records, lambda image: to_square(image.pixels, size)))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, squares)
        partial.replace(path)
    return squares


def one_hot(records: Sequence[Record]) -> NDArray[np.float32]:
    """Return labels as float32, shape (N, 2), in the order of ``LABELS``."""
    return np.eye(len(LABELS), dtype=np.float32)[[record.label for record in records]]


class XrayDataset(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of network input and one-hot labels.

    In training a batch (its images, their augmentation and mixup) depends on the seed, the epoch and its
    index alone, so that an epoch is the same whether or not training was interrupted before it. Keras
    shuffles the indices, and ends an epoch once before the first: it trains epoch 0 on what is called 1 here.
    """

    def __init__(
        self,
        squares: NDArray[np.uint8],
        labels: NDArray[np.float32],
        config: FitConfig,
        *,
        training: bool,
        epoch: int = 0,
        share: Share = WHOLE,
    ) -> None:
        """Build from squares uint8 (N, S, S) and labels float32 (N, 2).

        Args:
            squares: Grey levels.
            labels: One-hot.
            config: Batch size, seed, augmentation and mixup.
            training: Whether to shuffle, augment and mix.
            epoch: The first to be served.
            share: This process' part of each batch.

        Raises:
            TrainingError: The devices cannot share a batch equally.
        """
        super().__init__(workers=_workers() if training else 1, max_queue_size=8)
        self._squares, self._labels, self._config = squares, labels, config
        self._training, self._epoch, self._share = training, epoch, share
        if config.batch_size % share.devices:
            raise TrainingError(
                f"{share.devices} devices cannot share a batch of {config.batch_size} images equally: give a "
                f"--batch-size that is a multiple of {share.devices}."
            )

    def __len__(self) -> int:
        """Return the number of batches, the last and smaller one included."""
        return -(-self._count() // self._config.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], ...]:
        """Return images float32 (B, S, S, 3) in 0..1, labels float32 (B, 2), and where some count for nothing weights.

        With several devices B is a multiple of their number, of which this process gets its share. In training an
        epoch leaves out the few images beyond that, others each time. In validation the last batch is filled up
        with images of weight 0; the others have the weight, a little above 1, that makes Keras' mean over all of
        them the mean over the real ones.
        """
        last = min((index + 1) * self._config.batch_size, self._count())
        places = np.arange(index * self._config.batch_size, last)
        return self._train(index, places) if self._training else self._validate(places)

    def _count(self) -> int:
        """Return the number of images an epoch, a multiple of the number of devices."""
        size, devices = len(self._squares), self._share.devices
        return size // devices * devices if self._training else -(-size // devices) * devices

    def _validate(self, places: NDArray[np.int64]) -> tuple[NDArray[np.float32], ...]:
        size = len(self._squares)
        places = self._share.of(places)
        chosen = np.minimum(places, size - 1)
        batch = to_network_input(self._squares[chosen]), self._labels[chosen]
        if self._count() == size:
            return batch
        return *batch, np.where(places < size, self._count() / size, 0).astype(np.float32)

    def _train(self, index: int, places: NDArray[np.int64]) -> tuple[NDArray[np.float32], ...]:
        order = self._rng(0, 0).permutation(len(self._squares))[places]
        ours = self._share.of(order)
        if not self._config.mixup_alpha:
            return to_three_channels(self._augmented(ours)), self._labels[ours]
        rng = self._rng(2, index)
        share = np.float32(rng.beta(self._config.mixup_alpha, self._config.mixup_alpha))
        partners = self._share.of(order[rng.permutation(len(order))])
        rows, where = np.unique(np.concatenate([ours, partners]), return_inverse=True)
        images = self._augmented(rows)
        first, second = where[: len(ours)], where[len(ours) :]
        mixed = share * images[first] + (1 - share) * images[second]
        return to_three_channels(mixed), share * self._labels[ours] + (1 - share) * self._labels[partners]

    def _augmented(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return images as they are in this epoch, one channel, float32 (B, S, S) in 0..1."""
        squares = [augment(self._squares[i], self._config.augmentation, self._rng(1, i)) for i in rows]
        return to_unit_range(np.stack(squares))

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's order and augmentation."""
        self._epoch += 1

    def _rng(self, purpose: int, index: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, self._epoch, purpose, int(index)])


def _workers() -> int:
    """Return how many batches to make at a time: the heavy parts of augmentation run outside Python's lock."""
    return max(2, min(len(os.sched_getaffinity(0)), 16))
