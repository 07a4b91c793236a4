"""A cross-validation as tables: the comparison in Markdown, the answers as CSV."""

import csv
import io
from collections.abc import Mapping
from typing import Final

from training.card_results import interval_text, view_rule_text
from training.crossvalidation.ablation import Ablation
from training.crossvalidation.out_of_fold import OutOfFold
from training.markdown import escape, paragraphs, table
from training.measures import Estimate
from training.sources import counts_text, difference_text, within

_METRICS: Final = {
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "expected_calibration_error": "ECE",
    "brier": "Brier",
}


def ablation_text(ablation: Ablation) -> str:
    """Write the comparison, Markdown."""
    return (
        paragraphs(
            "# Cross-validation of recipes",
            _what(ablation),
            "## Out of fold",
            _results(ablation),
            *(f"{view_rule_text(name, rule.model_dump())}." for name, rule in ablation.view_rules.items()),
            "## Without the lungs",
            "The same models on the same images with the lungs covered (two ellipses, the same for every image), and "
            "on their borders only (84 % of the side covered). What is far above 0.5 here is taken from what lies "
            "beside the lungs; of lungs that reach to the edge of an image a rim is left.",
            _covered(ablation),
            *_differences(ablation),
            *_changes(ablation),
            "## Fold by fold",
            "The mean of each fold's own ROC AUC, which does not compare probabilities of different models.",
            _fold_means(ablation),
        )
        + "\n"
    )


def predictions_table(recipe: OutOfFold) -> str:
    """Write every answer as CSV; images are named by digest and group."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    covered = [name.replace(" ", "_") for name in recipe.covered]
    rows.writerow(["sha256", "group", "source", "label", "fold", "probability", "threshold", *covered])
    for index, record in enumerate(recipe.answered.records):
        answered = [
            recipe.answered.probabilities[index],
            recipe.answered.thresholds[index],
            *(of.probabilities[index] for of in recipe.covered.values()),
        ]
        known = [record.sha256, record.group, record.source, record.label, recipe.fold[index]]
        rows.writerow([*known, *(f"{value:.6f}" for value in answered)])
    return text.getvalue()


def _what(ablation: Ablation) -> str:
    counts = ", ".join(f"{count:,} {label}" for label, count in ablation.images.items())
    which = (
        "The test part of the usual split is among the images: no recipe may be chosen by these figures."
        if ablation.include_test
        else "The test part of the usual split is not among the images: recipes may be chosen by these figures."
    )
    measured = len(ablation.folds_measured)
    folds = (
        f"all {ablation.folds} folds"
        if measured == ablation.folds
        else f"**{measured} of {ablation.folds} folds** ({', '.join(map(str, ablation.folds_measured))})"
    )
    sources = "; ".join(f"{escape(name)} ({counts_text(counts)})" for name, counts in ablation.sources.items())
    return (
        f"{folds[0].upper()}{folds[1:]}, by group: {counts} in {ablation.groups:,} groups, each answered by a model "
        f"that saw none of its group. {which} Probabilities are calibrated by each fold's own temperature and bias, "
        "and answers taken at its own threshold, both from its own validation part. Sources with both classes: "
        f"{sources or 'none'}. Intervals: 95 %, {ablation.bootstrap_rounds:,} rounds of the bootstrap by group; they "
        "do not hold what another seed would change."
    )


def _results(ablation: Ablation) -> str:
    columns = {**_within_sources(ablation), **_METRICS}
    rows = [
        [escape(recipe.name), *_figures(recipe.metrics, columns), f"{recipe.minutes:.1f}"]
        for recipe in ablation.recipes
    ]
    return table(["recipe", *columns.values(), "minutes of training"], rows)


def _covered(ablation: Ablation) -> str:
    columns = _areas(ablation)
    rows = [
        [escape(recipe.name), seen, *_figures(metrics, columns)]
        for recipe in ablation.recipes
        for seen, metrics in {"whole images": recipe.metrics, **recipe.covered}.items()
    ]
    return table(["recipe", "images", *columns.values()], rows)


def _differences(ablation: Ablation) -> list[str]:
    others = ablation.recipes[1:]
    if not others:
        return []
    columns = _areas(ablation)
    rows = [
        [escape(recipe.name), seen, *(difference_text(metrics.get(name)) for name in columns)]
        for recipe in others
        for seen, metrics in {"whole images": recipe.differences, **recipe.covered_differences}.items()
    ]
    return [
        f"## Differences to {escape(ablation.recipes[0].name)}",
        "Paired, on the same images. Above 0 the recipe's figure is the higher one: better on whole images, and more "
        "of a shortcut without the lungs.",
        table(["recipe", "images", *columns.values()], rows),
    ]


def _changes(ablation: Ablation) -> list[str]:
    first, *others = ablation.recipes
    if not others:
        return []
    rows = [[escape(recipe.name), escape(recipe.changes)] for recipe in others]
    return [f"What each changes ('there': {escape(first.name)}):", table(["recipe", "changes"], rows)]


def _fold_means(ablation: Ablation) -> str:
    columns = {name: of for name, of in _areas(ablation).items() if name != "accuracy"}
    rows = [
        [
            escape(recipe.name),
            *(
                f"{of.mean:.3f} ({of.folds} folds)" if (of := recipe.fold_means.get(name)) else "not estimable"
                for name in columns
            ),
        ]
        for recipe in ablation.recipes
    ]
    return table(["recipe", *columns.values()], rows)


def _areas(ablation: Ablation) -> dict[str, str]:
    return {**_within_sources(ablation), "roc_auc": "ROC AUC", "accuracy": "accuracy"}


def _within_sources(ablation: Ablation) -> dict[str, str]:
    return {within(name): f"AUC within {escape(name)}" for name in ablation.sources}


def _figures(metrics: Mapping[str, Estimate], columns: Mapping[str, str]) -> list[str]:
    return [interval_text(of.model_dump() if (of := metrics.get(name)) else None) for name in columns]
