"""Evidence made up from random numbers: what a study or an evaluation would leave behind."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.calibration import Calibration
from training.config import DEFAULT_EXECUTION, FitConfig, Plateau, Stage
from training.manifest import Manifest, Record, Unreadable
from training.results import Answers, EpochTiming, Evidence, TrainedModel
from training.splits import Split

ROOT: Final = Path("/srv/ward-nine/xrays")
SIDE: Final = 64
STAGES: Final = (Stage(), Stage(unfrozen_layers=54, plateau=Plateau(), stopping_monitor="val_loss"))
MODELS: Final = tuple(
    (recipe, backbone, 7) for recipe in ("original", "native") for backbone in ("VGG16", "ResNet50", "NASNetLarge")
)


def records(count: int, start: int = 0, sources: Sequence[str] = ("both", "only {label}")) -> tuple[Record, ...]:
    """Make records of both classes in turns, two images a group, each with a source."""
    made = []
    for number in range(start, start + count):
        label, group = number % 2, number // 4
        source = sources[group % len(sources)].format(label=label)
        path = f"{label}/shot-{number:04}.png"
        made.append(Record(path, label, f"patient-{label}-{group:04}", source, "CC0", f"{number:064x}"))
    return tuple(made)


def answers(of: Sequence[Record], seed: int, skill: float = 0.4) -> Answers:
    """Answer at random, the better the more skill; nobody's probabilities are equal."""
    rng = np.random.default_rng(seed)
    labels = np.array([record.label for record in of])
    probabilities = (1 - skill) / 2 + skill * labels + rng.normal(0, 0.2, len(of))
    return Answers(tuple(of), np.clip(probabilities, 0.01, 0.99).astype(np.float32))


def constant(of: Sequence[Record], probability: float) -> Answers:
    """Answer the same for every image."""
    return Answers(tuple(of), np.full(len(of), probability, np.float32))


def history(seed: int, epochs: Sequence[int] = (12, 8)) -> tuple[tuple[Mapping[str, float], ...], ...]:
    """Make accuracy rise and loss fall, with noise."""
    rng = np.random.default_rng(seed)
    stages, past = [], 0
    for length in epochs:
        stage = []
        for epoch in range(past, past + length):
            learnt, noise = 1 - np.exp(-epoch / 6), rng.normal(0, 0.015, 4)
            stage.append(
                {
                    "accuracy": 0.6 + 0.36 * learnt + noise[0],
                    "loss": 1.1 - 0.6 * learnt + noise[1],
                    "val_accuracy": 0.58 + 0.33 * learnt + 2 * noise[2],
                    "val_loss": 1.15 - 0.55 * learnt + 2 * noise[3],
                    "learning_rate": 1e-3,
                }
            )
        stages.append(tuple(stage))
        past += length
    return tuple(stages)


def model(recipe: str, backbone: Any, seed: int | None, parts: Mapping[str, Answers], **changes: Any) -> TrainedModel:
    """Make a trained model, of which some attributes may be given."""
    config = FitConfig(recipe=recipe, backbone=backbone, seed=seed or 0, stages=STAGES)
    past = history(seed or 0)
    timings = tuple(
        EpochTiming(stage, epoch, 1000, 90.0 if epoch == 0 else 25.0, 30.0 + 70 * (epoch == 0))
        for stage, epochs in enumerate(past)
        for epoch in range(len(epochs))
    )
    made = TrainedModel(
        recipe=recipe,
        backbone=backbone,
        seed=seed,
        parts=parts,
        calibration=Calibration(1.2),
        threshold=0.45,
        threshold_rule="Youden's J on validation, after bias-corrected temperature scaling there",
        parameter_count=15_000_000,
        config=config,
        execution=DEFAULT_EXECUTION,
        history=past,
        timings=timings,
        structure="Layer (type)\nbackbone (Functional) (None, 7, 7, 512)\nprobabilities (Dense) (None, 2)",
    )
    return replace(made, **changes)


def study(count: int = 240, names: Sequence[tuple[str, str, int]] = MODELS, **changes: Any) -> Evidence:
    """Make a study of some models, the last the best."""
    every = records(count)
    train, validation, test = every[: count // 2], every[count // 2 : 3 * count // 4], every[3 * count // 4 :]
    models = tuple(
        model(*name, {"validation": answers(validation, number, 0.3), "test": answers(test, 99 + number, 0.1 * number)})
        for number, name in enumerate(names)
    )
    made = Evidence(
        title="Three backbones",
        command=f"python -m training study --data {ROOT} --out runs/study --seed 7",
        manifest=Manifest(ROOT, every, grouped=True),
        split=Split(train, validation, test),
        models=models,
        winner=len(models) - 1,
        winner_rule="the highest ROC AUC on validation",
        environment={"python": "3.11.9", "keras": "3.15.0", "device": "CPU, 2 cores"},
        trivial_rules={
            "not_square": {"accuracy": 0.8, "roc_auc": 0.79},
            "contrast": {"accuracy": 0.55, "roc_auc": 0.5},
        },
        trivial_rules_fitted_on="validation",
    )
    return replace(made, **changes)


def evaluation(of: Sequence[Record], given: Answers | None = None, **changes: Any) -> Evidence:
    """Make the evaluation of one exported model on somebody's folder."""
    alone = model(
        "shipped",
        "NASNetMobile",
        None,
        {"all": given or answers(of, 5)},
        config=None,
        execution=None,
        history=(),
        timings=(),
        structure="",
    )
    made = Evidence(
        title="One model",
        command=f"python -m training evaluate --model models/nasnetmobile --data {ROOT}",
        manifest=Manifest(ROOT, tuple(of), grouped=False),
        split=None,
        models=(alone,),
        winner=0,
        winner_rule="",
        environment={"python": "3.11.9"},
        trivial_rules={},
        trivial_rules_fitted_on="the same images",
    )
    return replace(made, **changes)


def unreadable(number: int) -> Unreadable:
    """Make a record that cannot be read."""
    return Unreadable(records(1, 4 * number)[0], "corrupt_image", "This file is cut off.")


def look(of: Sequence[Record]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw squares that look a little like chests, and a heatmap over one lung."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    squares, heatmaps = [], []
    for record in of:
        rng = np.random.default_rng(int(record.sha256, 16))
        lungs = np.exp(-(((abs(x) - 0.4) / 0.25) ** 2) - ((y / 0.6) ** 2))
        squares.append(np.clip(200 - 140 * lungs + rng.normal(0, 8, lungs.shape), 0, 255).astype(np.uint8))
        rows, columns = np.mgrid[0:7, 0:7]
        heat = np.exp(-((rows - 3) ** 2 + (columns - rng.integers(0, 7)) ** 2) / 3)
        heatmaps.append((heat / heat.max()).astype(np.float32))
    return np.stack(squares), np.stack(heatmaps)
