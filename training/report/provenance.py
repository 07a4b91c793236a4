"""A report's Markdown sections on what the figures come from: data, training, structure, environment."""

from collections.abc import Sequence

from training.manifest import LABELS
from training.markdown import code_block, escape, paragraphs, table
from training.measures import Comparison, ModelMeasures, PartCounts, StageMeasures
from training.report.findings import how_split, skipped


def data(comparison: Comparison, skipped_files: Sequence[str]) -> str:
    """Count images and groups by part and class; name those left out where that is allowed."""
    facts = comparison.data
    parts = (facts.split or {}) | {"all": facts.total}
    groups = "groups" if facts.grouped_images else "groups (each image its own)"
    return paragraphs(
        f"{how_split(comparison)} Digest of the manifest: `{facts.manifest_digest}`.",
        table(["part", *LABELS, "images", groups], [[name, *_counts(of)] for name, of in parts.items()]),
        *skipped(comparison),
        "\n".join(f"- {escape(name)}" for name in skipped_files),
    )


def training(models: Sequence[ModelMeasures], curves: Sequence[str]) -> str:
    """Tell how each model was trained, how long it took, and which epochs were kept.

    Args:
        models: In the order of the report.
        curves: The figures, Markdown.
    """
    rows = [[escape(model.name), *_recipe(model)] for model in models if model.weights]
    recipes = ["model", "initial weights", "scaling in the graph", "precision", "softmax", "XLA"]
    stages = ["model", "stage", "pixels", "epochs", "kept epoch", "its accuracy on validation", "its loss", "wall time"]
    stage_rows = [
        [escape(model.name), str(number), *_stage(stage)]
        for model in models
        for number, stage in enumerate(model.stages, start=1)
    ]
    seconds = sum(stage.seconds or 0 for model in models for stage in model.stages)
    speed = (
        "Wall time holds validation and checkpoints; images a second are those of the median epoch's training steps "
        "(of feature vectors where a frozen backbone's were computed once)."
        f"{f' All trainings together took {duration(seconds)}.' if seconds else ''}"
    )
    return paragraphs(
        table(recipes, rows) if rows else "",
        _recipes(models),
        *([speed, table([*stages, "images a second"], stage_rows)] if stage_rows else []),
        *curves,
    )


def _recipes(models: Sequence[ModelMeasures]) -> str:
    """List what each recipe's stages are, once where all backbones share them."""
    stages: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for number, stage in enumerate(model.stages, start=1):
            if stage.recipe:
                backbones = stages.setdefault((model.recipe, f"stage {number}: {stage.recipe}"), [])
                backbones += [model.backbone] if model.backbone not in backbones else []
    return "\n".join(
        f"- Recipe {escape(recipe)}, {', '.join(backbones)}, {escape(text)}"
        for (recipe, text), backbones in stages.items()
    )


def structure(text: str) -> str:
    """Show the winner's layers."""
    return code_block(text) if text.strip() else ""


def environment(comparison: Comparison) -> str:
    """Show the exact command, and what it ran on."""
    rows = [[escape(name), escape(value)] for name, value in comparison.environment.items()]
    return paragraphs(code_block(comparison.command), table(["what", "value"], rows) if rows else "")


def duration(seconds: float) -> str:
    """Write seconds as people say them: "45 s", "3 min 20 s", "1 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _counts(part: PartCounts) -> list[str]:
    return [*(f"{part.images[label]:,}" for label in LABELS), f"{sum(part.images.values()):,}", f"{part.groups:,}"]


def _recipe(model: ModelMeasures) -> list[str]:
    softmax = {None: "not known", True: "float16", False: "float32"}[model.float16_softmax]
    xla = {"None": "not known", "True": "on", "False": "off"}.get(str(model.xla), "as Keras decides")
    return [str(model.weights), str(model.scaling), model.precision or "not known", softmax, xla]


def _stage(stage: StageMeasures) -> list[str]:
    kept = f"{stage.kept_epoch} (by {stage.kept_by})" if stage.kept_epoch else "not known"
    return [
        str(stage.image_size or "not known"),
        str(stage.epochs),
        kept,
        _number(stage.val_accuracy, ".3f"),
        _number(stage.val_loss, ".3f"),
        "not known" if stage.seconds is None else duration(stage.seconds),
        _number(stage.images_per_second, ".1f"),
    ]


def _number(value: float | None, form: str) -> str:
    return "not known" if value is None else format(value, form)
