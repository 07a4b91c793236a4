"""What the models of a study are worth, each for itself and beside the others."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import training.evaluate
from training.bootstrap import Counts, Rounds, f1, share
from training.config import Monitor
from training.evaluate import describe, estimate, metrics_by_round
from training.manifest import LABELS, POSITIVE, Record, count_by_class
from training.measures import (
    Comparison,
    DataMeasures,
    Difference,
    ModelMeasures,
    PartCounts,
    PartMeasures,
    SeedMeasures,
    Spread,
    StageMeasures,
)
from training.prevalence import predictive_values
from training.recipe_text import stage_text
from training.results import Answers, EpochTiming, Evidence, TrainedModel

PREVALENCE: Final = 0.1
"""Of COVID-19 among those examined, for the predictive values: an example of ours, measured nowhere."""


def main_part(evidence: Evidence) -> str:
    """Name the part that a report is about: "test", or the only one."""
    parts = evidence.models[evidence.winner].parts
    return "test" if "test" in parts else next(iter(parts))


def measure(evidence: Evidence, prevalence: float = PREVALENCE) -> Comparison:
    """Measure all models of a study, or one.

    Args:
        evidence: The models' answers and histories.
        prevalence: Of COVID-19, for the predictive values; in 0..1.
    """
    part = main_part(evidence)
    models = [_model(model, prevalence) for model in evidence.models]
    return Comparison(
        title=evidence.title,
        notes=list(evidence.notes),
        command=evidence.command,
        environment=dict(evidence.environment),
        bootstrap_rounds=training.evaluate.BOOTSTRAP_ROUNDS,
        prevalence=prevalence,
        part=part,
        data=_data(evidence),
        models=models,
        winner=evidence.models[evidence.winner].name,
        winner_rule=evidence.winner_rule,
        differences=_differences(evidence, part),
        seeds=_seeds(models, part),
        trivial_rules={name: _numbers(rule) for name, rule in evidence.trivial_rules.items()},
        trivial_rules_fitted_on=evidence.trivial_rules_fitted_on,
    )


def _data(evidence: Evidence) -> DataMeasures:
    manifest = evidence.manifest
    skipped = [fault.record for fault in manifest.skipped]
    parts = evidence.split.parts() if evidence.split else None
    return DataMeasures(
        manifest_digest=manifest.digest,
        total=_part_counts(manifest.records),
        split=parts and {name: _part_counts(records) for name, records in parts.items()},
        grouped_images=sum(record.group != record.path for record in manifest.records),
        limit=evidence.limit,
        skipped=count_by_class(skipped),
        skipped_reasons=dict(Counter(fault.code for fault in manifest.skipped)),
    )


def _model(model: TrainedModel, prevalence: float) -> ModelMeasures:
    config, execution = model.config, model.execution
    return ModelMeasures(
        name=model.name,
        recipe=model.recipe,
        backbone=model.backbone,
        seed=model.seed,
        parameter_count=model.parameter_count,
        temperature=model.calibration.temperature,
        calibration_bias=model.calibration.bias,
        threshold=model.threshold,
        threshold_rule=model.threshold_rule,
        weights=config and config.initial_weights,
        scaling=config and config.scaling_in_words,
        precision=execution and execution.precision,
        float16_softmax=execution and execution.float16_softmax,
        xla=execution and execution.xla,
        stages=[_stage(model, number) for number in range(len(model.history))],
        parts={name: _part(answers, model, prevalence) for name, answers in model.parts.items()},
    )


def _stage(model: TrainedModel, number: int) -> StageMeasures:
    epochs = model.history[number]
    stage = model.config.stages[number] if model.config else None
    monitor = stage.checkpoint_monitor if stage else None
    kept = kept_epoch(epochs, monitor) if monitor else None
    timings = [timing for timing in model.timings if timing.stage == number]
    return StageMeasures(
        image_size=stage and stage.image_size,
        recipe=stage_text(stage, model.config) if stage and model.config else None,
        epochs=len(epochs),
        kept_epoch=None if kept is None else kept + 1,
        kept_by=monitor,
        val_accuracy=None if kept is None else _numbers(epochs[kept]).get("val_accuracy"),
        val_loss=None if kept is None else _numbers(epochs[kept]).get("val_loss"),
        seconds=sum(timing.seconds for timing in timings) if timings else None,
        images_per_second=_speed(timings),
    )


def _numbers(values: Mapping[str, float]) -> dict[str, float]:
    """Leave out what is not a number, which JSON does not know."""
    return {name: value for name, value in values.items() if not np.isnan(value)}


def kept_epoch(epochs: Sequence[Mapping[str, float]], monitor: Monitor) -> int | None:
    """Find the epoch, from 0, whose weights a stage kept: the first of the best that has a loss; None if none has."""
    sign = 1 if monitor == "val_accuracy" else -1
    values = [np.nan if np.isnan(epoch["val_loss"]) else sign * epoch[monitor] for epoch in epochs]
    numbers = [value for value in values if not np.isnan(value)]
    return values.index(max(numbers)) if numbers else None


def _speed(timings: Sequence[EpochTiming]) -> float | None:
    """Of the median epoch: the first one compiles."""
    speeds = [timing.images / timing.train_seconds for timing in timings if timing.train_seconds > 0]
    return float(np.median(speeds)) if speeds else None


@dataclass(frozen=True, slots=True)
class _Masks:
    """Which of N images are of COVID-19, and which are called that; bool (N,) each."""

    positive: NDArray[np.bool_]
    predicted: NDArray[np.bool_]

    def of(self, label: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return both masks for a class."""
        return (self.positive, self.predicted) if label == POSITIVE else (~self.positive, ~self.predicted)


def _part(answers: Answers, model: TrainedModel, prevalence: float) -> PartMeasures:
    labels, probabilities = answers.labels, answers.probabilities
    groups = [record.group for record in answers.records]
    at_threshold = _Masks(labels == POSITIVE, probabilities >= model.threshold)
    at_half = _Masks(labels == POSITIVE, probabilities >= model.calibration.even)
    figures = estimate(lambda counts: _figures(at_threshold, at_half, prevalence, counts), len(labels), groups)
    return PartMeasures.model_validate(
        {
            **describe(answers.records, probabilities, model.threshold),
            "accuracy_at_half": figures["accuracy_at_half"],
            "classes": {name: _under(name, figures) for name in LABELS},
            "predictive_values": _under("predictive value", figures),
            "confusion": _confusion(at_threshold),
            "only_answer": _only_answer(at_threshold),
            "only_answer_at_half": _only_answer(at_half),
        }
    )


def _figures(at_threshold: _Masks, at_half: _Masks, prevalence: float, counts: Counts) -> dict[str, Rounds]:
    images = np.ones(counts.shape[1], bool)
    figures = {"accuracy_at_half": share(at_half.positive == at_half.predicted, images, counts)}
    for label, name in enumerate(LABELS):
        actual, predicted = at_threshold.of(label)
        figures[f"{name}/precision"] = share(actual, predicted, counts)
        figures[f"{name}/recall"] = share(predicted, actual, counts)
        figures[f"{name}/f1"] = f1(actual, predicted, counts)
    sensitivity = figures[f"{LABELS[POSITIVE]}/recall"]
    specificity = figures[f"{LABELS[1 - POSITIVE]}/recall"]
    values = predictive_values(sensitivity, specificity, prevalence)
    figures["predictive value/positive"], figures["predictive value/negative"] = values
    return figures


def _under(name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(f"{name}/"): of for key, of in figures.items() if key.startswith(f"{name}/")}


def _confusion(masks: _Masks) -> list[list[int]]:
    return [
        [int((masks.of(actual)[0] & masks.of(answer)[1]).sum()) for answer in range(len(LABELS))]
        for actual in range(len(LABELS))
    ]


def _only_answer(masks: _Masks) -> str | None:
    answered = {int(predicted) for predicted in masks.predicted}
    return LABELS[POSITIVE if answered.pop() else 1 - POSITIVE] if len(answered) == 1 else None


def _differences(evidence: Evidence, part: str) -> list[Difference]:
    winner = evidence.models[evidence.winner]
    return [
        Difference(model=model.name, metrics=_difference(model, winner, part))
        for model in evidence.models
        if model is not winner
    ]


def _difference(model: TrainedModel, winner: TrainedModel, part: str) -> dict[str, Any]:
    ours, best = model.parts[part], winner.parts[part]
    assert ours.records == best.records  # The differences are paired.

    def differ(counts: Counts) -> dict[str, Rounds]:
        of_model, of_winner = (
            metrics_by_round(answers.labels, answers.probabilities, threshold, counts)
            for answers, threshold in ((ours, model.threshold), (best, winner.threshold))
        )
        return {name: of_model[name] - of_winner[name] for name in ("accuracy", "roc_auc")}

    return estimate(differ, len(ours.records), [record.group for record in ours.records])


def _seeds(models: Sequence[ModelMeasures], part: str) -> list[SeedMeasures]:
    """Gather models of one recipe and backbone, of at least two seeds."""
    gathered: dict[tuple[str, str], dict[int, PartMeasures]] = {}
    for model in models:
        if model.seed is not None:
            gathered.setdefault((model.recipe, model.backbone), {})[model.seed] = model.parts[part]
    return [
        SeedMeasures(recipe=recipe, backbone=backbone, seeds=list(by_seed), metrics=_spreads(by_seed.values()))
        for (recipe, backbone), by_seed in gathered.items()
        if len(by_seed) > 1
    ]


def _spreads(parts: Iterable[PartMeasures]) -> dict[str, Spread]:
    figures = [part.metrics | {"accuracy_at_half": part.accuracy_at_half} for part in parts]
    return {
        name: _spread([of[name].value for of in figures])
        for name in ("accuracy_at_half", "accuracy", "roc_auc")
        if all(name in of for of in figures)
    }


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        mean=float(np.mean(values)),
        standard_deviation=float(np.std(values, ddof=1)),
        smallest=min(values),
        largest=max(values),
    )


def _part_counts(records: Sequence[Record]) -> PartCounts:
    return PartCounts(images=count_by_class(records), groups=len({record.group for record in records}))
