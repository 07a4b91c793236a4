"""The model card, generated from the measurements so that it cannot drift from them."""

from collections import Counter
from typing import Any, Final

from app.artifact import Metadata
from app.imaging import PREPROCESSING_VERSIONS
from training.config import FitConfig
from training.manifest import LABELS, Manifest, count_classes
from training.markdown import table
from training.recipe_text import stage_text
from training.splits import Split


def model_card(metadata: Metadata, config: FitConfig, manifest: Manifest, parts: Split) -> str:
    """Write the card of an artifact, Markdown.

    Args:
        metadata: With metrics and threshold.
        config: Of the run.
        manifest: The data it was trained on.
        parts: Its split.
    """
    sections = [
        f"# Model card: {metadata.name} version {metadata.version}",
        f"**{metadata.note}**",
        _INTENDED_USE,
        "## Model",
        _model(metadata, config),
        "## Data",
        _data(manifest, parts),
        "## Results",
        _results(metadata),
        "## Precisions",
        precision_table(metadata),
        "## Limits",
        _limits(manifest),
    ]
    return "\n\n".join(sections) + "\n"


FEWEST_IMAGES: Final = 5
"""Of a class, for a figure of a source: below, a bootstrap interval only repeats what is there."""

_INTENDED_USE = """## Intended use

Research and teaching on frontal chest radiographs like those of the data below.
Not for screening, triage or diagnosis of anybody. A probability given here is not the probability that a
patient has COVID-19."""


def _model(metadata: Metadata, config: FitConfig) -> str:
    stages = [f"  {number}. {stage_text(stage, config)}" for number, stage in enumerate(config.stages, start=1)]
    return "\n".join(
        [
            f"- Backbone {config.backbone}, initial weights: {config.initial_weights}, "
            f"scaling inside the graph: {config.scaling.replace('_', ' ')}; "
            f"head {config.head.units[0]}/{config.head.units[1]} fully connected; "
            f"{metadata.parameter_count:,} parameters.",
            f"- Input: 224x224 grey, 0..1, {PREPROCESSING_VERSIONS[metadata.preprocessing_version]} "
            f"(preprocessing version {metadata.preprocessing_version}).",
            f"- Recipe `{metadata.recipe}`: batches of {config.batch_size}, seed {config.seed}, "
            f"label smoothing {config.label_smoothing:g}, moving average of weights {config.average_decay:g}; stages:",
            *stages,
            f"- The epoch was chosen by {config.stages[-1].checkpoint_monitor} and no other split than validation.",
            f"- Temperature {metadata.temperature:.3f}, threshold {metadata.threshold:.3f}: {metadata.threshold_rule}.",
        ]
    )


def _data(manifest: Manifest, parts: Split) -> str:
    rows = [
        [name, *(str(count) for count in count_classes(records)), str(len({r.group for r in records}))]
        for name, records in parts.parts().items()
    ]
    sources = Counter((r.source or "unknown", r.label) for r in manifest.records)
    source_rows = [
        [source, *(str(sources[source, label]) for label in range(len(LABELS)))]
        for source in sorted({source for source, _ in sources})
    ]
    licences = Counter(r.licence or "not stated" for r in manifest.records)
    how = (
        "by group: no group is in two parts"
        if manifest.grouped
        else "by image: patients are unknown and may be in two parts"
    )
    return "\n\n".join(
        [
            f"{len(manifest.records):,} images, split 64:16:20 {how} (digest `{manifest.digest[:16]}`).",
            table(["part", *LABELS, "groups"], rows),
            table(["source", *LABELS], source_rows),
            "Licences as the sources give them, by image: "
            + "; ".join(f"{licence} ({count})" for licence, count in licences.most_common())
            + ". An image without a stated licence, or under a non-commercial one, allows no more than research.",
        ]
    )


def _results(metadata: Metadata) -> str:
    splits = {name: metadata.metrics[name] for name in ("validation", "test")}
    names = list(splits["test"]["metrics"])
    rows = [
        [name.replace("_", " "), *(interval_text(part["metrics"].get(name)) for part in splits.values())]
        for name in names
    ]
    source_rows = [
        [source, *(str(count) for count in measured["images"].values()), *source_figures(measured)]
        for source, measured in splits["test"]["sources"].items()
    ]
    rules = metadata.metrics["trivial_rules"]
    rule_rows = [[name.replace("_", " "), f"{r['accuracy']:.3f}", f"{r['roc_auc']:.3f}"] for name, r in rules.items()]
    return "\n\n".join(
        [
            "Measured with the exported model in OpenVINO, float32. Intervals: 95 %, bootstrap by group. "
            "The epoch, the temperature and the threshold were chosen on validation; nothing was chosen on the test "
            "part.",
            table(["metric", *splits], rows),
            "Test part by source (not estimable from a class that it lacks, nor shown from fewer than "
            f"{FEWEST_IMAGES} images):",
            table(["source", *LABELS, "sensitivity", "specificity", "ROC AUC"], source_rows),
            "What a rule on one trivial property reaches on the same test part, its threshold chosen on validation:",
            table(["rule", "accuracy", "ROC AUC"], rule_rows),
        ]
    )


def precision_table(metadata: Metadata) -> str:
    """Tell what lower precisions than float32 change on validation, Markdown."""
    if not metadata.precisions:
        return "No precision but f32 was measured: the model is served in f32."
    rows = [
        [
            name,
            f"{record.largest_difference:.4f}",
            str(record.label_flips),
            "none" if record.farthest_flip is None else f"{record.farthest_flip:.4f}",
            f"{record.roc_auc_difference:+.4f}",
            f"{record.accuracy_difference:+.4f}",
            "yes" if record.accepted else f"no: {'; '.join(record.reasons)}",
        ]
        for name, record in metadata.precisions.items()
    ]
    images = next(iter(metadata.precisions.values())).images
    head = ["precision", "largest difference of a probability", "labels that flip", "the farthest from the threshold"]
    return "\n\n".join(
        [
            f"Against f32, on the {images} validation images. The model may be served in f32 and in what is accepted; "
            "a precision that is not listed was not measured.",
            table([*head, "ROC AUC", "accuracy", "accepted"], rows),
        ]
    )


def source_figures(measured: dict[str, Any]) -> list[str]:
    """Format sensitivity, specificity and ROC AUC of one source, each only if its classes have images enough."""
    negatives, positives = (measured["images"][label] for label in LABELS)
    fewest = {"sensitivity": positives, "specificity": negatives, "roc_auc": min(negatives, positives)}
    return [
        f"too few images ({count})" if 0 < count < FEWEST_IMAGES else interval_text(measured["metrics"].get(name))
        for name, count in fewest.items()
    ]


def _limits(manifest: Manifest) -> str:
    sources_of = [{r.source for r in manifest.records if r.label == label} for label in range(len(LABELS))]
    shared = sorted(sources_of[0] & sources_of[1])
    lines = [
        "- The figures hold for this data set alone. They say nothing about another hospital, device or population.",
        "- A model can reach such figures by telling apart where images come from (shape, borders, burned-in marks, "
        "exposure) and not the disease: compare the trivial rules and the AUC within a source that holds both classes.",
        f"- Sources that hold both classes: {', '.join(shared) or 'none'}. The AUC within such a source is the honest "
        "one, as far as its few images carry it; an AUC of the whole above 0.97 is a warning and no achievement.",
        "- Anything that is not a frontal chest radiograph gets an answer too, without meaning.",
        "- Labels come from the sources and are not certain.",
    ]
    return "\n".join(lines)


def interval_text(metric: dict[str, Any] | None) -> str:
    """Format a metric with its interval; None is one that cannot be estimated."""
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})" if metric else "not estimable"
