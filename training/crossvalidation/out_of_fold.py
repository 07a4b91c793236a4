"""Answers of a recipe's folds to the images that each held out, put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.alterations import Alteration, cover_lungs, keep_borders
from training.answers import answer, answer_altered
from training.calibration import Calibration
from training.config import FitConfig
from training.evaluate import fit_threshold
from training.manifest import Manifest
from training.sources import Answered
from training.splits import Split
from training.timing import read_timings

COVERED: Final[dict[str, Alteration]] = {"lungs covered": cover_lungs, "borders only": keep_borders}
"""What every fold's model is asked besides: what it knows without the lungs."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        number: From 1.
        images: All that are cross-validated on.
        parts: Their train and validation part, and as test what is held out.
        cache: Folder of preprocessed squares.
    """

    number: int
    images: Manifest
    parts: Split
    cache: Path

    def folder(self, out: Path, recipe: FitConfig) -> Path:
        """Return the run folder of a recipe's fold."""
        return out / recipe.recipe / f"fold-{self.number}"


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """What a recipe's models answer about the images that they have not seen.

    Attributes:
        recipe: The recipe.
        answered: About N images, with each fold's own calibration and threshold.
        covered: The same about the same images altered, by the name of the alteration.
        fold: Number of the fold that held an image out, (N,).
        minutes: Of training, of all these folds.
    """

    recipe: FitConfig
    answered: Answered
    covered: dict[str, Answered]
    fold: NDArray[np.int64]
    minutes: float


def has_answered(run: Path) -> bool:
    """Say whether a fold needs no more training."""
    return (run / "altered.npz").exists()  # The last thing that is written of a fold.


def answer_covered(run: Path, recipe: FitConfig, fold: Fold) -> dict[str, NDArray[np.float32]]:
    """Ask a fold's model about what it held out, altered; logits by the name of the alteration."""
    return answer_altered(run, recipe, fold.images, fold.parts.test, COVERED, fold.cache)


def read_out_of_fold(recipe: FitConfig, finished: Sequence[tuple[Fold, Path]]) -> OutOfFold:
    """Read what the finished folds of a recipe left in their run folders."""
    answered = [_read(recipe, fold, run) for fold, run in finished]
    return OutOfFold(
        recipe=recipe,
        answered=_join([plain for plain, _ in answered]),
        covered={name: _join([covered[name] for _, covered in answered]) for name in COVERED},
        fold=np.repeat([fold.number for fold, _ in finished], [len(fold.parts.test) for fold, _ in finished]),
        minutes=sum(timing.seconds for _, run in finished for timing in read_timings(run / "timing.json")) / 60,
    )


def _read(recipe: FitConfig, fold: Fold, run: Path) -> tuple[Answered, dict[str, Answered]]:
    logits = answer(run, recipe, fold.images, fold.parts, fold.cache)
    labels = np.array([record.label for record in fold.parts.validation])
    calibration = Calibration.fit(logits.validation, labels)
    threshold = fit_threshold(labels, calibration.probabilities(logits.validation))

    def answered(held_out: NDArray[np.float32]) -> Answered:
        probabilities = calibration.probabilities(held_out)
        return Answered(fold.parts.test, probabilities, np.full(len(probabilities), threshold))

    covered = answer_covered(run, recipe, fold)
    return answered(logits.test), {name: answered(of) for name, of in covered.items()}


def _join(parts: Sequence[Answered]) -> Answered:
    return Answered(
        tuple(record for part in parts for record in part.records),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.thresholds for part in parts]),
    )
