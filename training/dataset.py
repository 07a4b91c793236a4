"""Manifest to network input: decode and preprocess once, keep uint8 squares, feed batches."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from app.imaging import IMAGE_SIZE, PREPROCESSING_VERSION, to_network_input, to_square
from training.atomic import reading
from training.augment import augment
from training.config import FitConfig
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
        with reading(path):
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


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches whose content depends on the seed, the epoch and their index alone.

    So an epoch is the same whether or not training was interrupted before it. Keras shuffles the indices, and
    ends an epoch once before the first: it trains epoch 0 on what is called 1 here.
    """

    def __init__(self, count: int, config: FitConfig, *, training: bool, epoch: int) -> None:
        super().__init__(workers=2 if training else 1, max_queue_size=8)
        self._count, self._config, self._training, self._epoch = count, config, training, epoch

    def __len__(self) -> int:
        """Return the number of batches, the last and smaller one included."""
        return -(-self._count // self._config.batch_size)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's order and augmentation."""
        self._epoch += 1

    def _chosen(self, index: int) -> NDArray[np.intp]:
        """Return which images a batch holds, (B,): in training in the epoch's own order."""
        order = self._rng(0, 0).permutation(self._count) if self._training else np.arange(self._count)
        return order[index * self._config.batch_size : (index + 1) * self._config.batch_size]

    def _rng(self, purpose: int, index: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, self._epoch, purpose, int(index)])


class XrayDataset(_Batches):
    """Batches of network input and one-hot labels, in training with augmentation and mixup."""

    def __init__(
        self,
        squares: NDArray[np.uint8],
        labels: NDArray[np.float32],
        config: FitConfig,
        *,
        training: bool,
        epoch: int = 0,
    ) -> None:
        """Build from squares uint8 (N, S, S) and labels float32 (N, 2); ``epoch`` is the first to be served."""
        super().__init__(len(squares), config, training=training, epoch=epoch)
        self._squares, self._labels = squares, labels

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return images float32 (B, S, S, 3) in 0..1 and labels float32 (B, 2)."""
        chosen = self._chosen(index)
        if not self._training:
            return to_network_input(self._squares[chosen]), self._labels[chosen]
        squares = [augment(self._squares[i], self._config.augmentation, self._rng(1, i)) for i in chosen]
        return self._mixup(to_network_input(np.stack(squares)), self._labels[chosen], self._rng(2, index))

    def _mixup(
        self, images: NDArray[np.float32], labels: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if not self._config.mixup_alpha:
            return images, labels
        share = np.float32(rng.beta(self._config.mixup_alpha, self._config.mixup_alpha))
        partner = rng.permutation(len(images))
        return share * images + (1 - share) * images[partner], share * labels + (1 - share) * labels[partner]


class FeatureDataset(_Batches):
    """Batches of a frozen backbone's features and one-hot labels: the same images as those of ``XrayDataset``."""

    def __init__(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.float32],
        config: FitConfig,
        *,
        training: bool,
        epoch: int = 0,
    ) -> None:
        """Build from features float32 (N, D) and labels float32 (N, 2); ``epoch`` is the first to be served."""
        super().__init__(len(features), config, training=training, epoch=epoch)
        self._features, self._labels = features, labels

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features float32 (B, D) and labels float32 (B, 2)."""
        chosen = self._chosen(index)
        return self._features[chosen], self._labels[chosen]
