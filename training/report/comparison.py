"""A report's Markdown sections that set the models beside each other, the trivial rules and the original study."""

from training.bootstrap import CONFIDENCE
from training.markdown import escape, paragraphs, table
from training.measures import Comparison, Difference, Estimate, ModelMeasures, part_images
from training.original_study import NOTEBOOK_ACCURACY, README_ACCURACY, TEST_IMAGES, WHAT_THE_NOTEBOOKS_SHOW
from training.report.figures import Drawn
from training.report.findings import figure, plain


def results(comparison: Comparison, chart: Drawn | None) -> str:
    """Set the models beside the trivial rules and, where its backbones were trained, beside the original study."""
    with_study = _is_study(comparison)
    header = [
        "model",
        "parameters",
        "accuracy, larger probability",
        "accuracy at its threshold",
        "ROC AUC",
        *(["original study: README", "original study: notebook"] if with_study else []),
    ]
    rows = [_result(model, comparison, with_study) for model in comparison.models]
    rows += [
        [f"rule: {escape(name.replace('_', ' '))}", "", "", plain(rule["accuracy"]), plain(rule.get("roc_auc"))]
        + (["", ""] if with_study else [])
        for name, rule in comparison.trivial_rules.items()
    ]
    return paragraphs(
        _how_to_read(comparison, with_study),
        table(header, rows),
        chart.markdown if chart else "",
        _on_validation(comparison),
    )


def _how_to_read(comparison: Comparison, with_study: bool) -> str:
    images = sum(comparison.chosen.parts[comparison.part].images.values())
    unit = "groups" if comparison.data.grouped_images else "images, as no groups are known"
    sentences = [
        f"Measured on the {images:,} {part_images(comparison.part)}. Intervals: {CONFIDENCE:.0%}, percentiles of "
        f"{comparison.bootstrap_rounds:,} bootstrap rounds that draw {unit}.",
        "Accuracy is given as the original study measured it (the larger uncalibrated probability wins) and at the "
        "threshold that was fitted.",
    ]
    if comparison.trivial_rules:
        sentences.append(
            "A rule answers by one trivial property of the image and a threshold fitted on "
            f"{escape(comparison.trivial_rules_fitted_on)}"
            f"{_optimistic(comparison)}; it is measured on the {part_images(comparison.part)} as the models are."
        )
    if with_study:
        sentences.append(
            "**The original study's figures are its own, on its own data and its own split by image: they stand here "
            "for orientation and are not comparable like with like.**"
        )
    return " ".join(sentences)


def _optimistic(comparison: Comparison) -> str:
    return ", which favours the rule" if comparison.trivial_rules_fitted_on == "the same images" else ""


def _result(model: ModelMeasures, comparison: Comparison, with_study: bool) -> list[str]:
    measured = model.parts[comparison.part]
    is_winner = len(comparison.models) > 1 and model.name == comparison.winner
    cells = [
        f"**{escape(model.name)}** (winner)" if is_winner else escape(model.name),
        f"{model.parameter_count:,}",
        figure(measured.accuracy_at_half),
        figure(measured.metrics["accuracy"]),
        figure(measured.metrics.get("roc_auc")),
    ]
    return cells + (_study_cells(model.backbone) if with_study else [])


def _on_validation(comparison: Comparison) -> str:
    if len(comparison.models) == 1 or any("validation" not in model.parts for model in comparison.models):
        return ""
    rows = [
        [
            escape(model.name),
            figure(model.parts["validation"].accuracy_at_half),
            figure(model.parts["validation"].metrics["accuracy"]),
            figure(model.parts["validation"].metrics.get("roc_auc")),
        ]
        for model in comparison.models
    ]
    header = ["model", "accuracy, larger probability", "accuracy at its threshold", "ROC AUC"]
    intro = (
        "The same on validation, where epochs, calibrations, thresholds and the winner were chosen; these figures are "
        "therefore too good."
    )
    return paragraphs(intro, table(header, rows))


def _study_cells(backbone: str) -> list[str]:
    readme = README_ACCURACY.get(backbone)
    notebook = NOTEBOOK_ACCURACY.get(backbone, {})
    return [
        "not in the study" if readme is None else f"{readme:.4f}",
        ", ".join(f"{accuracy:.4f} {when}" for when, accuracy in notebook.items()),
    ]


def _is_study(comparison: Comparison) -> bool:
    """Tell whether backbones of the original study were trained here."""
    return comparison.data.split is not None and any(of.backbone in README_ACCURACY for of in comparison.models)


def original_study(comparison: Comparison) -> str:
    """Tell what the original study reported, and what its notebooks show."""
    if not _is_study(comparison):
        return ""
    rows = [[backbone, *_study_cells(backbone)] for backbone in README_ACCURACY]
    intro = (
        "Test accuracy that janlight/Covid-19_X-ray_DL_project gives, on its own "
        f"{sum(TEST_IMAGES.values())} test images: none of these figures was measured here."
    )
    shown = "\n".join(f"- {sentence}" for sentence in WHAT_THE_NOTEBOOKS_SHOW)
    return paragraphs(intro, table(["backbone", "README", "notebook"], rows), f"What its notebooks show:\n\n{shown}")


def differences(comparison: Comparison) -> str:
    """Show how far each model is from the winner."""
    if not comparison.differences:
        return ""
    intro = (
        f"Each model minus {escape(comparison.winner)}, on the same bootstrap draws (paired). Where an interval holds "
        "0, these images do not tell the two apart. With several models some interval leaves out 0 by chance alone."
    )
    rows = [
        [escape(of.model), *(_signed(of.metrics.get(name)) for name in ("accuracy", "roc_auc")), _apart(of)]
        for of in comparison.differences
    ]
    return paragraphs(intro, table(["model", "accuracy at its threshold", "ROC AUC", "told apart by"], rows))


def _apart(difference: Difference) -> str:
    names = {"accuracy": "accuracy", "roc_auc": "ROC AUC"}
    apart = [names[name] for name, of in difference.metrics.items() if not of.low <= 0 <= of.high]
    return ", ".join(apart) or "neither"


def seeds(comparison: Comparison) -> str:
    """Show how much of a difference is the seed's."""
    if not comparison.seeds:
        return ""
    names = {"accuracy_at_half": "accuracy, larger probability", "accuracy": "accuracy", "roc_auc": "ROC AUC"}
    rows = [
        [escape(of.recipe), of.backbone, ", ".join(str(seed) for seed in of.seeds), names[name]]
        + [plain(value) for value in (spread.mean, spread.standard_deviation, spread.smallest, spread.largest)]
        for of in comparison.seeds
        for name, spread in of.metrics.items()
    ]
    header = ["recipe", "backbone", "seeds", f"on the {comparison.part} part", "mean", "standard deviation"]
    intro = (
        "The same recipe and backbone from other seeds, on the same images: differences of this size come from the "
        "seed alone."
    )
    return paragraphs(intro, table([*header, "smallest", "largest"], rows))


def _signed(estimate: Estimate | None) -> str:
    if not estimate:
        return "not estimable"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
