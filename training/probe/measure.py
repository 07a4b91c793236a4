"""Ask an exported model about the images of one part as they are and altered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

import training.evaluate
from app.artifact import Artifact, open_artifact
from app.engines import Engine, load_engine
from app.errors import TrainingError
from training.alterations import (
    Alteration,
    Squares,
    cover_lungs,
    grey_levels,
    keep_borders,
    keep_centre,
    lower_resolution,
    match_grey_levels,
    mirror,
)
from training.manifest import LABELS, POSITIVE, Manifest, Record, count_by_class
from training.probe.measures import Altered, Probe, SourcesTold
from training.probe.sources_told import tell_sources
from training.properties import measure_trivial_rules
from training.sources import Answered, compared, count_sources, measure, measure_difference, measure_view_rule
from training.splits import split
from training.squares import infer_squares, load_squares

Part = Literal["validation", "test"]

LARGEST_DIFFERENCE: Final = 0.005
"""Of an ROC AUC measured here from that of the export: another processor changes it less, another part more."""


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """What was measured, and what is shown of it.

    Attributes:
        measures: The figures.
        squares: Of the part, uint8 (N, S, S).
        alterations: By name, as they were applied.
    """

    measures: Probe
    squares: Squares
    alterations: Mapping[str, Alteration]


def probe(model: Path, manifest: Manifest, part: Part, split_seed: int) -> Probed:
    """Measure what an exported model goes by.

    Args:
        model: ``models/<name>/<version>``, or ``models/<name>`` for its highest version.
        manifest: The data that it was trained on.
        part: Of their split.
        split_seed: Of the split: that of the model's recipe.

    Raises:
        ArtifactError: The model is missing, damaged, or does not reproduce its golden outputs.
        TrainingError: The data are not those of the model, the split is another one, or images cannot be read.
    """
    artifact = open_artifact(model)
    _assert_own_data(artifact, manifest)
    engine = load_engine("openvino", artifact)
    parts = split(manifest, split_seed)
    records = parts.parts()[part]
    squares, train = (
        load_squares(manifest.root, of, preprocessing=artifact.metadata.preprocessing_version)
        for of in (records, parts.train)
    )
    answered, features = _ask(engine, artifact, records, squares)
    metrics = measure(answered)
    _assert_own_split(artifact, part, metrics["roc_auc"]["value"])
    alterations = alterations_of(train)
    measures = Probe.model_validate(
        {
            "model": artifact.metadata.name,
            "version": artifact.metadata.version,
            "model_digest": artifact.digest,
            "recipe": artifact.metadata.recipe,
            "backbone": artifact.metadata.backbone,
            "engine": engine.description,
            "threshold": artifact.metadata.threshold,
            "data_digest": manifest.digest,
            "part": part,
            "split_seed": split_seed,
            "images": count_by_class(records),
            "groups": len({record.group for record in records}),
            "sources": count_sources(records),
            "view_rules": measure_view_rule(records),
            "bootstrap_rounds": training.evaluate.BOOTSTRAP_ROUNDS,
            "metrics": metrics,
            "altered": {
                name: _altered(_ask(engine, artifact, records, alter(squares))[0], answered)
                for name, alter in alterations.items()
            },
            "sources_told": _sources_told(features, records),
            "trivial_rules": measure_trivial_rules(manifest.root, (parts.train, train), (records, squares)),
        }
    )
    return Probed(measures, squares, alterations)


def alterations_of(train: Squares) -> dict[str, Alteration]:
    """Return every alteration by name.

    Args:
        train: Squares of the train part, both classes, whose pooled histogram all images are given.
    """
    wanted = grey_levels(train)
    return {
        "lungs covered": cover_lungs,
        "borders only": keep_borders,
        "centre only": keep_centre,
        "matched grey levels": lambda squares: match_grey_levels(squares, wanted),
        "low resolution": lower_resolution,
        "mirrored": mirror,
    }


def _assert_own_data(artifact: Artifact, manifest: Manifest) -> None:
    if manifest.digest != artifact.metadata.data_digest:
        raise TrainingError(
            f"{manifest.root} does not hold the data that {artifact.metadata.name} was trained on, so which of its "
            "images the model has seen is not known. Give those data; for others there is 'evaluate'."
        )


def _assert_own_split(artifact: Artifact, part: Part, roc_auc: float) -> None:
    exported = artifact.metadata.metrics[part]["metrics"]["roc_auc"]["value"]
    if abs(exported - roc_auc) > LARGEST_DIFFERENCE:
        raise TrainingError(
            f"The ROC AUC on this {part} part is {roc_auc:.4f}, and on that of the model's export {exported:.4f}: the "
            "data were split otherwise there. Give --split-seed, the recipe's."
        )


def _ask(
    engine: Engine, artifact: Artifact, records: tuple[Record, ...], squares: Squares
) -> tuple[Answered, NDArray[np.float32]]:
    outputs = infer_squares(engine.infer, squares)
    probabilities = outputs.probabilities[:, POSITIVE].astype(np.float64)
    thresholds = np.full(len(records), artifact.metadata.threshold)
    return Answered(records, probabilities, thresholds), outputs.features


def _altered(answered: Answered, reference: Answered) -> Altered:
    differences = measure_difference(answered, reference, compared(answered.records))
    return Altered.model_validate({"metrics": measure(answered), "differences": differences})


def _sources_told(features: NDArray[np.float32], records: Sequence[Record]) -> dict[str, SourcesTold]:
    positive = np.array([record.label == POSITIVE for record in records])
    tried = {
        f"{LABELS[POSITIVE]} alone": tell_sources(features[positive], [r for r in records if r.label == POSITIVE]),
        "all images": tell_sources(features, records),
    }
    return {name: told for name, told in tried.items() if told}
