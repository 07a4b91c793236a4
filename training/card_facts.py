"""What a model card says besides the figures in ``metadata.json``, kept so that it can be written again.

The card is a function of the two: measurements that are made later (probes, the input gate, an ablation) are put into
these facts, and the card is written anew. Nobody edits it.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.artifact import EXTRA, Metadata
from app.errors import TrainingError
from training.config import FitConfig
from training.manifest import LABELS, ClassCounts, Manifest, count_by_class
from training.recipe_text import stage_text
from training.splits import Split

FACTS: Final = f"{EXTRA}/card.json"

LATER: Final = ("probe", "gate", "ablation")
"""Measurements that are made after an export, each a field of ``CardFacts``."""


_NAME_FILES: Final = {"command", "environment", "wrong_radiographs", "accepted_negatives", "unreadable"}
"""Fields of measurements that can name files, and a patient with them: no card holds these."""


class PartFacts(BaseModel):
    """One part of the split."""

    model_config = ConfigDict(frozen=True)

    images: ClassCounts
    groups: int


class CardFacts(BaseModel):
    """Contents of ``card.json``; free of paths and identifiers."""

    model_config = ConfigDict(frozen=True)

    network: str = Field(description="Backbone, initial weights, scaling, head, in words.")
    training: str = Field(description="Batches, seed and the like, in words.")
    stages: list[str] = Field(description="What each stage of the training did, in words.")
    chosen_by: str = Field(description="What decided which epoch was kept.")
    images: int
    grouped: bool = Field(description="Whether the group of every image is known.")
    parts: dict[str, PartFacts]
    sources: dict[str, ClassCounts]
    licences: dict[str, int] = Field(description="Images by licence, the most frequent first.")
    test_evaluations: int | None = Field(None, ge=1, description="How often this run was measured on its test part.")
    probe: dict[str, Any] | None = Field(None, description="As 'python -m training probe' wrote it.")
    gate: dict[str, Any] | None = Field(None, description="Rates of the input gate.")
    ablation: dict[str, Any] | None = Field(None, description="What each change of the training did, on validation.")


def gather_facts(
    metadata: Metadata, config: FitConfig, manifest: Manifest, parts: Split, test_evaluations: int
) -> CardFacts:
    """Gather the facts of a run.

    Args:
        metadata: Of its artifact.
        config: Of the run.
        manifest: The data it was trained on.
        parts: Their split.
        test_evaluations: How often it was measured on the test part.
    """
    sources = Counter((record.source or "unknown", record.label) for record in manifest.records)
    balance = f", rare pairs of source and class weighed to the power of {config.balance:g}" if config.balance else ""
    return CardFacts(
        network=(
            f"Backbone {config.backbone}, initial weights: {config.initial_weights}, scaling inside the graph: "
            f"{config.scaling_in_words}; head {'/'.join(map(str, config.head.units))} fully connected; "
            f"{metadata.parameter_count:,} parameters."
        ),
        training=(
            f"Recipe `{metadata.recipe}`: batches of {config.batch_size}, seed {config.seed}, label smoothing "
            f"{config.label_smoothing:g}, moving average of weights {config.average_decay:g}{balance}; stages:"
        ),
        stages=[stage_text(stage, config) for stage in config.stages],
        chosen_by=config.stages[-1].checkpoint_monitor,
        images=len(manifest.records),
        grouped=manifest.grouped,
        parts={
            name: PartFacts(images=count_by_class(records), groups=len({r.group for r in records}))
            for name, records in parts.parts().items()
        },
        sources={
            source: {label: sources[source, number] for number, label in enumerate(LABELS)}
            for source in sorted({source for source, _ in sources})
        },
        licences=dict(Counter(record.licence or "not stated" for record in manifest.records).most_common()),
        test_evaluations=test_evaluations,
    )


def read_facts(artifact: Path) -> CardFacts:
    """Read the facts of an artifact.

    Raises:
        TrainingError: It has none, as those exported before there were facts, or they cannot be read.
    """
    path = artifact / FACTS
    if not path.exists():
        raise TrainingError(
            f"{path} is missing: the model was exported before cards could be written again. Export it again."
        )
    try:
        return CardFacts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrainingError(f"{path} cannot be read as the facts of a card ({error.error_count()} errors).") from error


def read_measurement(path: Path) -> dict[str, Any]:
    """Read measurements that were made after an export, without what names files or folders.

    Raises:
        TrainingError: No such file, or it holds no JSON object.
    """
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path} cannot be read as JSON ({error}). Give the file that the command wrote."
        ) from error
    if not isinstance(measured, dict) or not measured:
        raise TrainingError(f"{path} holds no measurements: a JSON object with at least one field is expected.")
    return {name: value for name, value in measured.items() if name not in _NAME_FILES}
