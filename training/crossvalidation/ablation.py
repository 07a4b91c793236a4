"""What recipes are worth out of fold, and by how much each differs from the first."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from sklearn.metrics import roc_auc_score

import training.evaluate
from training.claim import differences
from training.config import FitConfig
from training.crossvalidation.out_of_fold import OutOfFold
from training.manifest import ClassCounts, count_by_class
from training.measures import Estimate
from training.sources import (
    SourceCounts,
    compared,
    count_sources,
    measure,
    measure_difference,
    measure_view_rule,
    sources_with_both_classes,
    within,
)


class _Measured(BaseModel):
    model_config = ConfigDict(frozen=True)


class FoldMean(_Measured):
    """A figure's mean over the folds, each for itself."""

    mean: float
    folds: int = Field(description="In which it can be estimated.")


class RecipeMeasures(_Measured):
    """A recipe; what cannot be estimated is left out."""

    name: str
    changes: str = Field(description="What differs from the first recipe ('there'), by field; empty of the first.")
    minutes: float = Field(description="Of training, of all folds.")
    metrics: dict[str, Estimate] = Field(description="Pooled, at each fold's own calibration and threshold.")
    fold_means: dict[str, FoldMean] = Field(description="Of ROC AUCs.")
    covered: dict[str, dict[str, Estimate]] = Field(description="Metrics on altered images, by alteration.")
    differences: dict[str, Estimate] = Field(description="To the first recipe, paired; empty of the first.")
    covered_differences: dict[str, dict[str, Estimate]] = Field(description="The same on altered images.")


class Ablation(_Measured):
    """Recipes, cross-validated on the same folds of the same images."""

    images: ClassCounts
    groups: int
    sources: dict[str, SourceCounts] = Field(description="Those that hold both classes in number.")
    view_rules: dict[str, Estimate] = Field(description="ROC AUC of 'COVID-19 if taken AP' within a source, by source.")
    include_test: bool = Field(description="Whether the test part of the usual split is among the images.")
    folds: int = Field(description="Into which the images are split.")
    folds_measured: list[int] = Field(description="Numbers, from 1, of those that every recipe has finished.")
    bootstrap_rounds: int
    recipes: list[RecipeMeasures]


def measure_recipes(recipes: Sequence[OutOfFold], folds: int, include_test: bool) -> Ablation:
    """Measure recipes on what their folds held out.

    Args:
        recipes: At least one; all of the same images.
        folds: Into which the images are split.
        include_test: Whether the test part of the usual split is among them.
    """
    first = recipes[0]
    records = first.answered.records
    return Ablation(
        images=count_by_class(records),
        groups=len({record.group for record in records}),
        sources=count_sources(records),
        view_rules=measure_view_rule(records),
        include_test=include_test,
        folds=folds,
        folds_measured=[int(number) for number in np.unique(first.fold)],
        bootstrap_rounds=training.evaluate.BOOTSTRAP_ROUNDS,
        recipes=[_measure(recipe, first) for recipe in recipes],
    )


def _measure(recipe: OutOfFold, first: OutOfFold) -> RecipeMeasures:
    of_interest = compared(recipe.answered.records)
    other = recipe is not first
    return RecipeMeasures.model_validate(
        {
            "name": recipe.recipe.recipe,
            "changes": _changes(recipe.recipe, first.recipe) if other else "",
            "minutes": recipe.minutes,
            "metrics": measure(recipe.answered),
            "fold_means": _fold_means(recipe),
            "covered": {name: measure(answered) for name, answered in recipe.covered.items()},
            "differences": measure_difference(recipe.answered, first.answered, of_interest) if other else {},
            "covered_differences": {
                name: measure_difference(answered, first.covered[name], of_interest)
                for name, answered in recipe.covered.items()
                if other
            },
        }
    )


def _changes(recipe: FitConfig, first: FitConfig) -> str:
    """Say what differs, without names of files."""
    hidden = {"recipe": "", "weights": recipe.initial_weights}
    ours = recipe.model_copy(update=hidden)
    return differences(first.model_copy(update=hidden | {"weights": first.initial_weights}), ours)


def _fold_means(recipe: OutOfFold) -> dict[str, FoldMean]:
    areas: dict[str, list[float]] = {}
    for number in np.unique(recipe.fold):
        here = recipe.answered.of(recipe.fold == number)
        sources = np.array([record.source for record in here.records])
        parts = {"roc_auc": here}
        parts |= {within(name): here.of(sources == name) for name in sources_with_both_classes(here.records)}
        for name, part in parts.items():
            areas.setdefault(name, []).append(float(roc_auc_score(part.labels, part.probabilities)))
    return {name: FoldMean(mean=float(np.mean(values)), folds=len(values)) for name, values in areas.items()}
