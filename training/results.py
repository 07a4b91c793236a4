"""What a trained model leaves behind for a report: its answers, its history, its speed.

A study reads these from its run folder, ``evaluate`` makes them with the engine that serves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.calibration import Calibration
from training.config import Execution, FitConfig
from training.manifest import Manifest, Record
from training.splits import Split

Look = Callable[[Sequence[Record]], tuple[NDArray[np.uint8], NDArray[np.float32]]]
"""From N records to their squares, uint8 (N, S, S), and Grad-CAM heatmaps, float32 (N, h, w) in 0..1."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One model's answers for one part of a data set.

    Attributes:
        records: N images.
        probabilities: Of COVID-19, calibrated: float32 (N,) in 0..1.
    """

    records: tuple[Record, ...]
    probabilities: NDArray[np.float32]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the labels, (N,)."""
        return np.array([record.label for record in self.records])


@dataclass(frozen=True, slots=True)
class EpochTiming:
    """What one epoch took; an epoch that was cut off and run again is there once.

    Attributes:
        stage: From 0.
        epoch: From 0.
        images: Trained on.
        train_seconds: Of the training steps, compilation included.
        seconds: With validation and checkpoints.
    """

    stage: int
    epoch: int
    images: int
    train_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """One model, as a report sees it.

    Attributes:
        recipe: Its name.
        backbone: Its name.
        seed: Of weights, order and augmentation; None where unknown.
        parts: Answers by the name of a part: "validation" and "test" of a study, "all" of anybody's folder.
        calibration: Of the logits; fitted on validation.
        threshold: From this probability on the answer is COVID-19.
        threshold_rule: How the threshold was chosen.
        parameter_count: Of all layers.
        config: None where only the exported model is there.
        execution: Precision and XLA of its training; None where unknown.
        history: By stage and epoch the metrics, as ``history-<n>.csv`` holds them: accuracy, loss, learning_rate,
            val_accuracy, val_loss.
        timings: By epoch.
        structure: The network's layers as text.
    """

    recipe: str
    backbone: str
    seed: int | None
    parts: Mapping[str, Answers]
    calibration: Calibration
    threshold: float
    threshold_rule: str
    parameter_count: int
    config: FitConfig | None = None
    execution: Execution | None = None
    history: tuple[tuple[Mapping[str, float], ...], ...] = ()
    timings: tuple[EpochTiming, ...] = ()
    structure: str = ""

    @property
    def run(self) -> FitConfig:
        """Return the configuration of a model that was trained here."""
        assert self.config is not None
        return self.config

    @property
    def name(self) -> str:
        """Name the model among those of a study: recipe, backbone and seed."""
        return "/".join(str(part) for part in (self.recipe, self.backbone, self.seed) if part is not None)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a report is made from.

    Attributes:
        title: Of the report.
        command: As it was typed, with the options that matter; words with blanks quoted (``shlex.join``), so that
            a public report can leave out folders.
        manifest: The data.
        split: Its parts; None where the whole folder is the test.
        models: In the order of the report; they share the records of each part.
        winner: Index of the model that was chosen on validation; 0 where there is one alone.
        winner_rule: How; "" where there is one alone.
        environment: Versions, device, processor, and what else a repetition needs, by name.
        trivial_rules: Accuracy and ROC AUC of each rule on one trivial property, as ``evaluate.trivial_rules`` gives
            them, measured on the same images as the models.
        trivial_rules_fitted_on: Where the rules got their thresholds: "validation", or "the same images".
        look: Makes squares and the winner's heatmaps; None where no image may be shown.
        limit: To how many images the data were limited; None: all.
        notes: What a reader must know before any figure, a sentence or two each.
        refused: Images by class that the model's input gate refused, which are in no figure; None: it has no gate.
        seen_images: How many of the images the model was trained on, or chosen by.
    """

    title: str
    command: str
    manifest: Manifest
    split: Split | None
    models: tuple[TrainedModel, ...]
    winner: int
    winner_rule: str
    environment: Mapping[str, str]
    trivial_rules: Mapping[str, Mapping[str, float]]
    trivial_rules_fitted_on: str
    look: Look | None = None
    limit: int | None = None
    notes: tuple[str, ...] = ()
    refused: Mapping[str, int] | None = None
    seen_images: int = 0
