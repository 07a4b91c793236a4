"""The model card, generated from the measurements so that it cannot drift from them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from app.artifact import Metadata
from app.imaging import PREPROCESSING_VERSIONS
from training.breakdown import ECE_AIM, SUSPICIOUS_AUC
from training.card_facts import CardFacts
from training.card_measured import (
    ablation_at_a_glance,
    ablation_section,
    gate_section,
    probe_at_a_glance,
    probe_section,
)
from training.card_results import FEWEST_IMAGES, interval_text, precision_table, results
from training.manifest import LABELS
from training.markdown import escape, paragraphs, table

_INTENDED_USE: Final = (
    "Use: research on, and teaching of, classifiers of frontal chest radiographs and how they fail.",
    "Users: researchers, engineers and teachers who can read the figures below. No patient, and no clinician in care.",
    "Out of scope: screening, triage, diagnosis or follow-up of anybody; children; lateral views and CT; any disease "
    "but COVID-19; deciding who is tested. A probability given here is not the probability that a patient has "
    "COVID-19.",
    "Before any other use: measure the model on your own images (`python -m training evaluate`); it ends in one page.",
)

_NO_GATE: Final = "None: every image that can be decoded is answered."

_NOT_PROBED: Final = "Not probed: what the model goes by besides the lungs is not known beyond the trivial rules above."

_ETHICS: Final = (
    "The images are of patients. What they agreed to is known to the sources and not here: keep to the licences, and "
    "do not try to find out who they are.",
    'A wrong "not COVID-19" may delay care and isolation, a wrong "COVID-19" may isolate somebody in vain, and a '
    "number on a screen is believed more than it deserves. Hence research only.",
    "Groups of patients that are not stated above were not measured: unequal errors between them cannot be ruled out.",
)


def model_card(metadata: Metadata, facts: CardFacts) -> str:
    """Write the card of an artifact, Markdown.

    Args:
        metadata: With metrics and threshold.
        facts: Of its training and data, with what was measured later.
    """
    record = metadata.model_dump(mode="json").get("gate")
    has_gate = bool(record or facts.gate)
    sections = {
        "At a glance": _listed(_at_a_glance(metadata, facts, has_gate)),
        "Intended use": _listed(_INTENDED_USE),
        "Limits": _listed(_limits(facts, has_gate)),
        "Results": results(metadata, facts.test_evaluations),
        "Shortcuts": probe_section(facts.probe) if facts.probe else _NOT_PROBED,
        "Input gate": gate_section(record, facts.gate) if has_gate else _NO_GATE,
        "Ablation": ablation_section(facts.ablation) if facts.ablation else "",
        "Data": _data(facts),
        "Model": _model(metadata, facts),
        "Precisions": precision_table(metadata),
        "Ethical considerations": _listed(_ETHICS),
    }
    written = [f"## {title}\n\n{body}" for title, body in sections.items() if body]
    return (
        paragraphs(f"# Model card: {metadata.name} version {metadata.version}", f"**{metadata.note}**", *written) + "\n"
    )


def _listed(lines: Iterable[str]) -> str:
    """Write a list, an item a line: the page continues none."""
    return "\n".join(f"- {line}" for line in lines)


def _at_a_glance(metadata: Metadata, facts: CardFacts, has_gate: bool) -> Iterator[str]:
    test = metadata.metrics["test"]
    measured = test["metrics"]
    area = measured.get("roc_auc")
    yield (
        f"On {sum(test['images'].values()):,} test images: ROC AUC {interval_text(area)}; at the threshold sensitivity "
        f"{interval_text(measured.get('sensitivity'))}, specificity {interval_text(measured.get('specificity'))}."
    )
    if area and area["value"] > SUSPICIOUS_AUC:
        yield (
            f"**An AUC above {SUSPICIOUS_AUC:g} is a warning and no achievement**: look at what follows before "
            "believing it."
        )
    yield _within_a_source(test["sources"])
    yield from ablation_at_a_glance(facts.ablation or {})
    if rules := metadata.metrics["trivial_rules"]:
        name, best = max(rules.items(), key=lambda rule: rule[1]["roc_auc"])
        rule = name.replace("_", " ")
        yield f'A rule that knows only "{rule}" has a ROC AUC of {best["roc_auc"]:.3f} on all test images.'
    error = measured["expected_calibration_error"]
    verdict = "within" if error["value"] <= ECE_AIM else "above"
    yield f"Expected calibration error {interval_text(error)}: {verdict} the aim of {ECE_AIM:g}."
    left = "; ".join(probe_at_a_glance(facts.probe or {}))
    shortcuts = f"ROC AUC with {left}" if left else "probed, see below" if facts.probe else "not probed"
    yield f"Shortcuts: {shortcuts}. Input gate: {'yes' if has_gate else 'none'}."


def _within_a_source(sources: Mapping[str, Mapping[str, Any]]) -> str:
    """Tell the honest figure: the AUC within sources that hold both classes."""
    both = [
        f"{interval_text(of['metrics'].get('roc_auc'))} in {escape(name)} ({_counts(of['images'])})"
        for name, of in sources.items()
        if name != "unknown" and min(of["images"].values()) >= FEWEST_IMAGES
    ]
    if both:
        return f"The honest figure is the ROC AUC within a source that holds both classes: {'; '.join(both)}."
    return (
        f"No source in the test part holds {FEWEST_IMAGES} images of both classes: no figure here tells the disease "
        "from the source."
    )


def _counts(images: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {label}" for label, count in images.items())


def _model(metadata: Metadata, facts: CardFacts) -> str:
    stages = [f"  {number}. {stage}" for number, stage in enumerate(facts.stages, start=1)]
    return "\n".join(
        [
            f"- {facts.network}",
            f"- Input: 224x224 grey, 0..1, {PREPROCESSING_VERSIONS[metadata.preprocessing_version]} "
            f"(preprocessing version {metadata.preprocessing_version}).",
            f"- {facts.training}",
            *stages,
            f"- The epoch was chosen by {facts.chosen_by} and no other split than validation.",
            f"- Temperature {metadata.temperature:.3f}, bias {metadata.calibration_bias:.3f}, "
            f"threshold {metadata.threshold:.3f}: {metadata.threshold_rule}.",
        ]
    )


def _data(facts: CardFacts) -> str:
    rows = [[name, *map(str, part.images.values()), str(part.groups)] for name, part in facts.parts.items()]
    source_rows = [[escape(source), *map(str, images.values())] for source, images in facts.sources.items()]
    how = (
        "by group: no group is in two parts"
        if facts.grouped
        else "by image: patients are unknown and may be in two parts"
    )
    licences = "; ".join(f"{escape(licence)} ({count})" for licence, count in facts.licences.items())
    return paragraphs(
        f"{facts.images:,} images, split 64:16:20 {how}. More of them, duplicates and what gives the class away is "
        "in the data card.",
        table(["part", *LABELS, "groups"], rows),
        table(["source", *LABELS], source_rows),
        f"Licences as the sources give them, by image: {licences}. An image without a stated licence, or under a "
        "non-commercial one, allows no more than research.",
    )


def _limits(facts: CardFacts, has_gate: bool) -> Iterator[str]:
    shared = [escape(name) for name, images in facts.sources.items() if name != "unknown" and all(images.values())]
    yield "The figures hold for this data set alone. They say nothing about another hospital, device or population."
    yield (
        "A model can reach such figures by telling apart where images come from (shape, borders, burned-in marks, "
        "exposure) and not the disease: compare the trivial rules and the AUC within a source that holds both classes "
        f"(here: {', '.join(shared) or 'none'})."
    )
    if has_gate:
        yield (
            "The input gate refuses most of what is no frontal chest radiograph, not all: what passes it gets an "
            "answer, whatever it shows."
        )
    else:
        yield "Anything that is not a frontal chest radiograph gets an answer too, without meaning."
    yield "Labels come from the sources and are not certain."
