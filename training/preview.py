"""A first look at a data folder: what the network sees of some images, and how many there are of each class."""

from itertools import zip_longest
from pathlib import Path

import numpy as np

from app.imaging import IMAGE_SIZE, PREPROCESSING_VERSIONS, to_square
from training.images import map_images
from training.manifest import LABELS, Manifest, Record, count_classes
from training.plots import draw_class_counts, draw_images


def preview(manifest: Manifest, out: Path, seed: int, count: int, preprocessing: int) -> tuple[Path, Path]:
    """Draw preprocessed images and the class counts.

    Args:
        manifest: The data set.
        out: Folder of the figures.
        seed: Of the choice of images: equal seed and data, equal files.
        count: Images to show, as many of each class as there are for it.
        preprocessing: Its version.

    Returns:
        The two PNG files.

    Raises:
        TrainingError: One of the images cannot be read.
    """
    chosen = choose(manifest, seed, count)
    squares = np.stack(map_images(manifest.root, chosen, lambda image: to_square(image.pixels, version=preprocessing)))
    how = f"{PREPROCESSING_VERSIONS[preprocessing]} (preprocessing version {preprocessing})"
    title = f"What the network sees: {IMAGE_SIZE} x {IMAGE_SIZE} pixels, {how}; seed {seed}"
    files = out / "images.png", out / "class_counts.png"
    draw_images(squares, [record.label for record in chosen], title, files[0])
    draw_class_counts(count_classes(manifest.records), files[1])
    return files


def choose(manifest: Manifest, seed: int, count: int) -> list[Record]:
    """Choose images at random, half of them of each class where there are enough, one class after the other."""
    order = np.random.default_rng(seed).permutation(len(manifest.records))
    shuffled = [manifest.records[i] for i in order]
    classes = [[record for record in shuffled if record.label == label] for label in range(len(LABELS))]
    in_turns = [record for turn in zip_longest(*classes) for record in turn if record]
    return sorted(in_turns[:count], key=lambda record: record.label)
