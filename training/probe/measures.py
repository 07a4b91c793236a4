"""What ``probe.json`` holds: every figure of a probe, as frozen values free of identifiers."""

from pydantic import BaseModel, ConfigDict, Field

from training.manifest import ClassCounts
from training.measures import Estimate
from training.sources import SourceCounts


class _Measured(BaseModel):
    model_config = ConfigDict(frozen=True)


class Altered(_Measured):
    """A model's answers for altered images; what cannot be estimated is left out."""

    metrics: dict[str, Estimate] = Field(description="At the model's threshold, and of its probabilities.")
    differences: dict[str, Estimate] = Field(description="To the images as they are, paired.")


class SourcesTold(_Measured):
    """What a logistic regression on the features tells of the images' sources, cross-validated by group."""

    images: dict[str, int] = Field(description="By source.")
    left_out: dict[str, int] = Field(description="Images of sources with too few groups, by source.")
    folds: int
    accuracy: Estimate
    balanced_accuracy: Estimate = Field(description="Mean over the sources of the share of images that were told.")
    majority_accuracy: float = Field(description="Of always answering the most frequent source.")
    majority_balanced_accuracy: float


class Probe(_Measured):
    """One model on one part."""

    model: str
    version: int
    model_digest: str
    recipe: str
    backbone: str
    engine: str
    threshold: float
    data_digest: str
    part: str
    split_seed: int
    images: ClassCounts
    groups: int
    sources: dict[str, SourceCounts] = Field(description="Those that hold both classes in number.")
    view_rules: dict[str, Estimate] = Field(description="ROC AUC of 'COVID-19 if taken AP' within a source, by source.")
    bootstrap_rounds: int
    metrics: dict[str, Estimate] = Field(description="On the images as they are.")
    altered: dict[str, Altered] = Field(description="By the name of the alteration.")
    sources_told: dict[str, SourcesTold] = Field(description="By the images it was tried on.")
    trivial_rules: dict[str, dict[str, float]] = Field(description="Fitted on the train part.")
