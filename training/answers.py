"""What a finished run answers on validation and test, asked once and kept in its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from training.alterations import Alteration
from training.atomic import reading, replacing
from training.config import FitConfig
from training.dataset import XrayDataset, one_hot
from training.fit import load_best
from training.manifest import Manifest, Record
from training.network import logits_of
from training.splits import Split
from training.squares import load_squares


@dataclass(frozen=True, slots=True)
class RunAnswers:
    """What is kept of a run's best weights.

    Attributes:
        validation: Logits, float32 (N, 2).
        test: Logits, float32 (M, 2).
        parameter_count: Of all layers.
        structure: The layers as text.
    """

    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    parameter_count: int
    structure: str


def answer(run: Path, config: FitConfig, manifest: Manifest, parts: Split, cache: Path) -> RunAnswers:
    """Ask a finished run's model, in float32, or read what it answered before.

    Args:
        run: The run folder.
        config: Of the run.
        manifest: The data that it was trained on.
        parts: Their split.
        cache: Folder of preprocessed squares.

    Raises:
        TrainingError: The run is unfinished.
    """
    path = run / "answers.npz"
    if not path.exists():
        model = load_best(run, config)
        logits = {
            "validation": _logits(model, manifest, parts.validation, config, cache),
            "test": _logits(model, manifest, parts.test, config, cache),
        }
        with replacing(path) as file:
            np.savez(file, parameter_count=model.count_params(), structure=_structure(model), **logits)  # type: ignore[arg-type]
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
        return RunAnswers(kept["validation"], kept["test"], int(kept["parameter_count"]), str(kept["structure"]))


def answer_altered(
    run: Path,
    config: FitConfig,
    manifest: Manifest,
    records: tuple[Record, ...],
    alterations: Mapping[str, Alteration],
    cache: Path,
) -> dict[str, NDArray[np.float32]]:
    """Ask a finished run's model about altered images, in float32, or read what it answered before.

    Args:
        run: The run folder.
        config: Of the run.
        manifest: The data that it was trained on.
        records: N of its images, the same in every call.
        alterations: By name.
        cache: Folder of preprocessed squares.

    Returns:
        Logits by the name of the alteration, float32 (N, 2).

    Raises:
        TrainingError: The run is unfinished.
    """
    path = run / "altered.npz"
    if not path.exists():
        model = load_best(run, config)
        squares = load_squares(manifest.root, records, cache, preprocessing=config.preprocessing)
        logits = {
            name: logits_of(model, XrayDataset(alter(squares), one_hot(records), config, training=False))
            for name, alter in alterations.items()
        }
        with replacing(path) as file:
            np.savez(file, **logits)  # type: ignore[arg-type]
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
        return {name: kept[name] for name in alterations}


def _logits(
    model: keras.Model, manifest: Manifest, records: tuple[Record, ...], config: FitConfig, cache: Path
) -> NDArray[np.float32]:
    squares = load_squares(manifest.root, records, cache, preprocessing=config.preprocessing)
    return logits_of(model, XrayDataset(squares, one_hot(records), config, training=False))


def _structure(model: keras.Model) -> str:
    lines: list[str] = []
    model.summary(line_length=100, print_fn=lines.append)
    return "\n".join(lines)
