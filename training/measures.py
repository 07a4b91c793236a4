"""What ``metrics.json`` holds: every figure of a report, as frozen values free of identifiers."""

from pydantic import BaseModel, ConfigDict, Field

from training.config import Monitor
from training.manifest import ClassCounts


class _Measured(BaseModel):
    model_config = ConfigDict(frozen=True)


class Estimate(_Measured):
    """A figure with its 95 % bootstrap interval by group."""

    value: float
    low: float
    high: float


class SourceMeasures(_Measured):
    """One source of a part; what its classes do not allow to estimate is left out."""

    images: ClassCounts
    metrics: dict[str, Estimate]


class PartMeasures(_Measured):
    """A model's answers for one part; what cannot be estimated is left out."""

    images: ClassCounts
    groups: ClassCounts
    metrics: dict[str, Estimate] = Field(description="At the model's threshold, and of its probabilities.")
    accuracy_at_half: Estimate = Field(description="Where the larger uncalibrated probability wins, as in the study.")
    classes: dict[str, dict[str, Estimate]] = Field(description="Precision, recall and F1 at the threshold, by class.")
    predictive_values: dict[str, Estimate] = Field(description="At the stated prevalence.")
    confusion: list[list[int]] = Field(description="Images by true class (rows) and answer (columns).")
    only_answer: str | None = Field(description="The class that the model answers for every image, if it does.")
    only_answer_at_half: str | None = Field(description="The same where the larger uncalibrated probability wins.")
    sources: dict[str, SourceMeasures]


class StageMeasures(_Measured):
    """How one stage of a training went."""

    image_size: int | None = Field(description="Side of the training images in pixels.")
    recipe: str | None = Field(description="What was to be done, in words.")
    epochs: int
    kept_epoch: int | None = Field(description="From 1: the one whose weights were kept.")
    kept_by: Monitor | None
    val_accuracy: float | None = Field(description="Of the kept epoch.")
    val_loss: float | None = Field(description="Of the kept epoch.")
    seconds: float | None = Field(description="Wall time of its epochs, with validation and checkpoints.")
    images_per_second: float | None = Field(description="Of the training steps: the median epoch's.")


class ModelMeasures(_Measured):
    """One model."""

    name: str
    recipe: str
    backbone: str
    seed: int | None
    parameter_count: int
    temperature: float
    calibration_bias: float
    threshold: float
    threshold_rule: str
    weights: str | None = Field(description="'imagenet', 'random' or 'a file'.")
    scaling: str | None
    precision: str | None
    float16_softmax: bool | None
    xla: bool | str | None
    stages: list[StageMeasures]
    parts: dict[str, PartMeasures]


class Difference(_Measured):
    """A model minus the winner on the same draws of groups."""

    model: str
    metrics: dict[str, Estimate]


class Spread(_Measured):
    """One figure over several seeds."""

    mean: float
    standard_deviation: float = Field(description="Of the sample: divided by seeds - 1.")
    smallest: float
    largest: float


class SeedMeasures(_Measured):
    """The models of a recipe and backbone that differ in nothing but the seed."""

    recipe: str
    backbone: str
    seeds: list[int]
    metrics: dict[str, Spread]


class PartCounts(_Measured):
    """How many images and groups are in a part of the data."""

    images: ClassCounts
    groups: int


class DataMeasures(_Measured):
    """What was trained and measured on."""

    manifest_digest: str
    total: PartCounts
    split: dict[str, PartCounts] | None
    grouped_images: int = Field(description="Images whose group metadata.csv gives.")
    limit: int | None = Field(description="Images asked for with --limit; whole groups make it a few more.")
    skipped: ClassCounts = Field(description="Images left out because they cannot be read.")
    skipped_reasons: dict[str, int]


class Comparison(_Measured):
    """Everything in ``metrics.json``."""

    title: str
    notes: list[str] = Field(description="What a reader must know before any figure.")
    command: str
    environment: dict[str, str]
    bootstrap_rounds: int
    prevalence: float
    part: str = Field(description="The one that the report is about.")
    data: DataMeasures
    models: list[ModelMeasures]
    winner: str
    winner_rule: str
    differences: list[Difference]
    seeds: list[SeedMeasures]
    trivial_rules: dict[str, dict[str, float]]
    trivial_rules_fitted_on: str

    @property
    def chosen(self) -> ModelMeasures:
        """Return the winner."""
        return next(model for model in self.models if model.name == self.winner)


def part_images(part: str) -> str:
    """Name the images of a part: "test images"; all of a folder are just "images"."""
    return "images" if part == "all" else f"{part} images"
