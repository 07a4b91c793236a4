"""Train every fold of every recipe, measure what is finished, and write it down.

A folder holds ``crossvalidation.json`` (which images, in how many folds), ``environment.json``,
``<recipe>/fold-<n>`` (a run folder each, see ``training.fit``, with ``answers.npz`` and ``altered.npz``),
``<recipe>/predictions.csv``, ``cache/`` (preprocessed squares, shared), ``ablation.md`` and ``ablation.json``.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from app.errors import Diverged, TrainingError
from training.answers import answer
from training.atomic import replacing
from training.claim import DataIdentity, claim
from training.config import DEFAULT_EXECUTION, Execution, FitConfig
from training.crossvalidation.ablation import measure_recipes
from training.crossvalidation.out_of_fold import Fold, OutOfFold, answer_covered, has_answered, read_out_of_fold
from training.crossvalidation.text import ablation_text, predictions_table
from training.fit import fit, has_begun
from training.manifest import Manifest
from training.progress import many_networks
from training.splits import development, folds
from training.study import check_weights, forget_models
from training.study_folder import record_environment

logger = logging.getLogger(__name__)


class Identity(BaseModel):
    """What every recipe of a folder has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: str = Field(description="Digest of the data folder's manifest.")
    split_seed: int = Field(ge=0)
    folds: int = Field(5, ge=2)
    include_test: bool = Field(False, description="Whether the test part of the usual split is among the images.")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained.

    Attributes:
        recipes: Each with a name of its own.
        count: How many folds there are.
        numbers: Folds to train now, from 1; empty: all.
        include_test: Whether to use the test part of the usual split, too.
        execution: Of every fold.
    """

    recipes: tuple[FitConfig, ...]
    count: int = 5
    numbers: tuple[int, ...] = ()
    include_test: bool = False
    execution: Execution = DEFAULT_EXECUTION


def crossvalidate(manifest: Manifest, plan: Plan, out: Path, command: str) -> Path:
    """Cross-validate recipes, and compare those that are finished with the first.

    In each fold the images that are held out are answered by a model of the others, of which a fifth is its
    validation: it chooses the epoch, the calibration and the threshold. What an earlier call with the same
    recipes finished is not done again; recipes may be added.

    Args:
        manifest: The data set.
        plan: Recipes and folds.
        out: Folder of the cross-validation.
        command: As it was typed, for the record.

    Returns:
        ``ablation.md``.

    Raises:
        TrainingError: The folder is of another cross-validation, two recipes have one name, there is no such fold,
            the data cannot be split, ImageNet weights cannot be had, or no fold of a recipe could be finished.
    """
    _check(plan)
    seed = plan.recipes[0].split_seed
    identity = Identity(manifest=manifest.digest, split_seed=seed, folds=plan.count, include_test=plan.include_test)
    images = manifest if plan.include_test else development(manifest, seed)
    parts = [
        Fold(number, images, split, out / "cache") for number, split in enumerate(folds(images, seed, plan.count), 1)
    ]
    claim(out / "crossvalidation.json", identity)
    _assert_same(parts, plan, out)
    with many_networks():
        _train(parts, plan, out, command)
        return _write(out, plan, parts)


def _check(plan: Plan) -> None:
    names = [recipe.recipe for recipe in plan.recipes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TrainingError(f"Two recipes are called {twice[0]}: give each a name of its own in its file.")
    if len({recipe.split_seed for recipe in plan.recipes}) > 1:
        raise TrainingError("The recipes split the data differently: give them the same split_seed.")
    if wrong := [number for number in plan.numbers if number > plan.count]:
        raise TrainingError(f"There is no fold {wrong[0]}: they are numbered from 1 to {plan.count}.")


def _assert_same(parts: Sequence[Fold], plan: Plan, out: Path) -> None:
    """Check that what was begun is of these recipes and folds: of what is finished nothing is trained again."""
    for recipe in plan.recipes:
        for fold in parts:
            run = fold.folder(out, recipe)
            if has_begun(run):
                claim(run / "config.json", recipe)
                claim(run / "data.json", DataIdentity(manifest=fold.images.digest, parts=fold.parts.digest))


def _train(parts: Sequence[Fold], plan: Plan, out: Path, command: str) -> None:
    waiting = [
        (recipe, fold)
        for recipe in plan.recipes
        for fold in parts
        if not has_answered(fold.folder(out, recipe)) and fold.number in (plan.numbers or range(1, plan.count + 1))
    ]
    if not waiting:
        return
    check_weights(list(dict.fromkeys(recipe for recipe, _ in waiting)))
    record_environment(out, command)
    for number, (recipe, fold) in enumerate(waiting, start=1):
        logger.info("%d of %d: %s, fold %d of %d", number, len(waiting), recipe.name, fold.number, plan.count)
        run = fold.folder(out, recipe)
        try:
            fit(fold.images, recipe, run, plan.execution, parts=fold.parts, cache=fold.cache)
            answer(run, recipe, fold.images, fold.parts, fold.cache)
            answer_covered(run, recipe, fold)
        except Diverged as error:  # The other recipes are not to wait for a person.
            logger.warning("%s", error)
        forget_models()


def _write(out: Path, plan: Plan, parts: Sequence[Fold]) -> Path:
    """Write what is finished: each recipe's answers, and the comparison on the folds that all of them have."""
    finished = [(recipe, [of for of in parts if has_answered(of.folder(out, recipe))]) for recipe in plan.recipes]
    for recipe, its in finished:
        if not its:
            raise TrainingError(f"No fold of {recipe.recipe} is finished: leave it out, or change it.")
    shared = [fold for fold in parts if all(fold in its for _, its in finished)]
    if not shared:
        raise TrainingError("The recipes have no finished fold in common: train the same --fold of each.")
    for recipe, its in finished:
        _replace(out / recipe.recipe / "predictions.csv", predictions_table(_read(out, recipe, its)))
    ablation = measure_recipes([_read(out, recipe, shared) for recipe, _ in finished], plan.count, plan.include_test)
    _replace(out / "ablation.json", ablation.model_dump_json(indent=1) + "\n")
    page = out / "ablation.md"
    _replace(page, ablation_text(ablation))
    return page


def _read(out: Path, recipe: FitConfig, parts: Sequence[Fold]) -> OutOfFold:
    return read_out_of_fold(recipe, [(fold, fold.folder(out, recipe)) for fold in parts])


def _replace(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
