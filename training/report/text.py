"""A report as Markdown: what the models reach, section by section."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from training.calibration import TEMPERATURES
from training.card_results import FEWEST_IMAGES, source_figures
from training.manifest import LABELS, ClassCounts
from training.markdown import escape, paragraphs, table
from training.measures import Comparison, ModelMeasures
from training.report import comparison as beside
from training.report import provenance
from training.report.figures import Charts
from training.report.findings import figure, findings, sources_known
from training.report.gallery import Gallery

_AREAS: Final = ("roc_auc", "average_precision")

RESEARCH_ONLY: Final = "Research use only: never a diagnosis."


@dataclass(frozen=True, slots=True)
class Content:
    """What a report is written from.

    Attributes:
        comparison: The figures.
        charts: Drawn from them.
        structure: The winner's layers as text; "" where unknown.
        gallery: Images and file names; None in a public report, or where no image may be shown.
        skipped_files: Names of the images that were left out; empty in a public report.
        public: Whether the report goes beyond the owner of the data.
    """

    comparison: Comparison
    charts: Charts
    structure: str
    gallery: Gallery | None
    skipped_files: tuple[str, ...]
    public: bool


def report_text(content: Content) -> str:
    """Write a report; a section without content is left out with its heading."""
    comparison = content.comparison
    sections = {
        "What to know first": "\n".join(f"- {sentence}" for sentence in findings(comparison)),
        "Comparison" if len(comparison.models) > 1 else "Results": beside.results(comparison, content.charts.intervals),
        "What the original study reported": beside.original_study(comparison),
        "Differences between the models": beside.differences(comparison),
        "Several seeds": beside.seeds(comparison),
        "Answers by class": _classes(content),
        "ROC and precision-recall curves": _ranking(content),
        "Calibration": _calibration(content),
        "Predictive values": _predictive_values(comparison),
        "By source": _sources(comparison),
        "Answers to random images": _predictions(content),
        "Where the network looked": _grad_cam(content),
        "Training": provenance.training(comparison.models, tuple(of.markdown for of in content.charts.curves)),
        "Data": provenance.data(comparison, content.skipped_files),
        f"Structure of {escape(comparison.winner)}": provenance.structure(content.structure),
        "Environment and command": provenance.environment(comparison),
    }
    written = [f"## {title}\n\n{body}" for title, body in sections.items() if body]
    return "\n\n".join([f"# {escape(comparison.title)}", f"**{RESEARCH_ONLY}** {_audience(content)}", *written]) + "\n"


def _audience(content: Content) -> str:
    if content.public:
        return (
            "This public version holds no radiograph, file name, group or patient identifier. Sources are named as "
            "metadata.csv names them."
        )
    return (
        "For the owner of the data: it may show radiographs and file names. The public version (`--public`) shows none."
    )


def _classes(content: Content) -> str:
    comparison = content.comparison
    rows = [
        [escape(model.name), label, *(figure(of.get(name)) for name in ("precision", "recall", "f1")), f"{images:,}"]
        for model in comparison.models
        for label, images in model.parts[comparison.part].images.items()
        for of in [model.parts[comparison.part].classes[label]]
    ]
    negative, positive = LABELS
    intro = (
        f"At each model's threshold. The recall of {positive} is the sensitivity, that of {negative} the specificity. "
        "Not estimable: the precision of a class that is never answered, recall and F1 of a class without images."
    )
    return paragraphs(
        intro,
        table(["model", "class", "precision", "recall", "F1", "images"], rows),
        "\n".join(of.markdown for of in content.charts.confusion),
    )


def _ranking(content: Content) -> str:
    if not content.charts.ranking:
        return "ROC AUC and average precision are not estimable: a class is missing."
    comparison = content.comparison
    rows = [
        [escape(model.name), *(figure(model.parts[comparison.part].metrics.get(name)) for name in _AREAS)]
        for model in comparison.models
    ]
    return paragraphs(table(["model", "ROC AUC", "average precision"], rows), content.charts.ranking.markdown)


def _calibration(content: Content) -> str:
    comparison = content.comparison
    rows = [
        [
            escape(model.name),
            figure(model.parts[comparison.part].metrics["expected_calibration_error"]),
            figure(model.parts[comparison.part].metrics["brier"]),
            f"{model.temperature:.3f}",
            f"{model.calibration_bias:.3f}",
            f"{model.threshold:.3f}",
        ]
        for model in comparison.models
    ]
    rules = dict.fromkeys(model.threshold_rule for model in comparison.models)
    intro = (
        "A temperature divides the logits, and a bias is added to that of COVID-19; both were fitted on validation, "
        "and the figures are of the calibrated probabilities. How the threshold was chosen: "
        f"{escape('; '.join(rules))}. ECE: expected calibration error over ten bins of equal width."
    )
    header = ["model", "ECE", "Brier score", "temperature", "bias", "threshold"]
    return paragraphs(
        intro, table(header, rows), _temperatures_at_an_end(comparison), content.charts.reliability.markdown
    )


def _temperatures_at_an_end(comparison: Comparison) -> str:
    """Say where the temperature is one that was tried last, and not the best there is."""
    lowest, highest = TEMPERATURES
    at_an_end = [
        f"{escape(model.name)} {model.temperature:.3g}"
        for model in comparison.models
        if not 1.01 * lowest < model.temperature < highest / 1.01
    ]
    if not at_an_end:
        return ""
    return (
        f"At an end of what was tried ({lowest:g} to {highest:g}): {', '.join(at_an_end)}. At the upper end the "
        "probabilities carry next to nothing, at the lower one validation was too easy to calibrate on."
    )


def _predictive_values(comparison: Comparison) -> str:
    values = [(model, model.parts[comparison.part].predictive_values) for model in comparison.models]
    if not any(of for _, of in values):
        return ""
    intro = (
        f"If {100 * comparison.prevalence:g}% of those examined had COVID-19: a prevalence assumed for this table and "
        "measured nowhere, with sensitivity and specificity as above. Positive: the share with COVID-19 among those "
        "called COVID-19; negative: the share without among the others."
    )
    rows = [[escape(model.name), figure(of.get("positive")), figure(of.get("negative"))] for model, of in values]
    return paragraphs(intro, table(["model", "positive predictive value", "negative predictive value"], rows))


def _sources(comparison: Comparison) -> str:
    if not sources_known(comparison.chosen, comparison.part):
        return ""
    intro = (
        "At each model's threshold. Not estimable: what needs a class that the source lacks. Not shown: what rests on "
        f"fewer than {FEWEST_IMAGES} images."
    )
    header = ["model", "source", *LABELS, "sensitivity", "specificity", "ROC AUC"]
    rows = [
        [escape(model.name), escape(name), *_count(of.images), *source_figures(of.model_dump())]
        for model in _winner_first(comparison)
        for name, of in model.parts[comparison.part].sources.items()
    ]
    return paragraphs(intro, table(header, rows))


def _count(images: ClassCounts) -> list[str]:
    return [f"{images[label]:,}" for label in LABELS]


def _winner_first(comparison: Comparison) -> Iterator[ModelMeasures]:
    yield comparison.chosen
    yield from (model for model in comparison.models if model.name != comparison.winner)


def _predictions(content: Content) -> str:
    if not content.gallery:
        return ""
    intro = f"What {escape(content.comparison.winner)} answers at its threshold. I counts from 0."
    return paragraphs(intro, content.gallery.predictions.markdown)


def _grad_cam(content: Content) -> str:
    if not content.gallery:
        return ""
    cases = content.gallery.cases
    wrong = sum(not case.right for case in cases)
    intro = (
        f"Grad-CAM of {escape(content.comparison.winner)} for COVID-19, on {len(cases) - wrong} right answers chosen "
        f"at random and the {wrong} wrong ones furthest from their label. Heat outside the lungs is a sign that "
        "something else than the disease was learnt; heat inside them proves nothing."
    )
    rows = [
        [
            str(case.index),
            escape(case.record.path),
            escape(case.record.source),
            LABELS[case.record.label],
            f"{case.probability:.3f}",
            "right" if case.right else "**wrong**",
        ]
        for case in cases
    ]
    header = ["I", "file", "source", "label", "P(COVID-19)", "answer"]
    return paragraphs(intro, content.gallery.grad_cam.markdown, table(header, rows))
