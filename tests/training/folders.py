"""Data folders for tests, made in code."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.images import encode


def picture(seed: int, height: int = 60, width: int = 60) -> NDArray[np.uint8]:
    """Draw smooth blobs that another seed draws elsewhere; uint8, shape (height, width)."""
    coarse = np.random.default_rng(seed).integers(40, 216, (12, 12), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def write_folder(root: Path, per_class: int = 10, names: tuple[str, str] = ("0", "1")) -> Path:
    """Write a data folder with distinct pictures ``<class>/<number>.png``: class 0 square, class 1 wider than high."""
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = picture(1000 * label + number, 60, 60 + 20 * label)
            (root / name / f"{number:02}.png").write_bytes(encode(pixels, "PNG"))
    return root


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files by their paths below the folder."""
    for name, data in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_table(root: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write ``metadata.csv``."""
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
