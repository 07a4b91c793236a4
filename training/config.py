"""Everything that decides a training run, as frozen values.

A run folder keeps its configuration as ``config.json``; equal configuration, data and code give an
equal run on one machine.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.errors import TrainingError
from app.imaging import PreprocessingVersion

RECIPES: Final = Path(__file__).parent / "recipes"
"""The recipes that ship, by name."""

BackboneName = Literal["VGG16", "ResNet50", "NASNetLarge", "NASNetMobile", "EfficientNetLite0"]
STUDY_BACKBONES: Final[tuple[BackboneName, ...]] = ("VGG16", "ResNet50", "NASNetLarge")
"""Those that the original study compared."""

Monitor = Literal["val_accuracy", "val_loss"]
Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
Scaling = Literal["native", "none", "second_division"]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Augmentation(_Frozen):
    """How far a training image may be changed at random. All zero: not at all."""

    mirror_probability: Probability = Field(0.0, description="Of a left-right flip.")
    rotation_degrees: float = Field(0.0, ge=0, description="Largest rotation either way.")
    shift: float = Field(0.0, ge=0, description="Largest shift as a fraction of the side.")
    zoom: float = Field(0.0, ge=0, description="Largest zoom in or out: 0.1 is a factor of 1.1.")
    stretch: float = Field(0.0, ge=0, description="Largest change of the aspect ratio either way.")
    gamma: float = Field(0.0, ge=0, description="Largest gamma either way: 0.2 is an exponent of 1.2.")
    contrast: float = Field(0.0, ge=0, le=1, description="Largest change of contrast about the mean.")
    brightness: float = Field(0.0, ge=0, le=1, description="Largest change of brightness, of the full range.")
    coarsening: float = Field(
        0.0, ge=0, lt=1, description="Largest loss of resolution: 0.6 reduces the side to 0.4 of it and back."
    )
    compression_probability: Probability = Field(0.0, description="Of the losses of a JPEG, of quality 25 to 90.")
    equalization: float = Field(
        0.0, ge=0, le=1, description="Largest share of the image with an equalised histogram that is mixed in."
    )
    background_swap_probability: Probability = Field(
        0.0,
        description="Of what lies around the chest coming from another training image, of whichever class; the label "
        "stays that of the chest.",
    )
    erasures: int = Field(0, ge=0, description="Rectangles that may be covered.")
    erasure_probability: Probability = Field(0.5, description="Of each rectangle.")
    erasure_side: float = Field(0.25, gt=0.05, le=1, description="Largest side as a fraction of the image's.")

    @property
    def changes_nothing(self) -> bool:
        """Whether every image stays as it is."""
        strengths = self.model_dump(exclude={"erasure_probability", "erasure_side"})
        return not any(strengths.values())


class Head(_Frozen):
    """The fully connected head. Source of the values: the original study's notebooks."""

    units: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        (512, 256), description="Widths of the two hidden layers."
    )
    dropout: Probability = Field(0.2, description="Before the second hidden layer.")
    batch_norm_momentum: float = Field(
        0.99, gt=0, lt=1, description="Of its moving statistics, which need some hundred steps at 0.99: Keras' default."
    )
    l1: float = Field(1e-5, ge=0, description="L1 penalty on the first layer's weights.")
    l2: float = Field(1e-4, ge=0, description="L2 penalty on the first layer's weights.")


class Plateau(_Frozen):
    """Lower the learning rate where the validation loss stands still. Source: the original study's second stage."""

    factor: float = Field(0.8, gt=0, lt=1, description="Multiplies the learning rate.")
    patience: int = Field(5, ge=1, description="Epochs without improvement before that.")


class Stage(_Frozen):
    """One call of ``fit``: what is trained, at which size, for how long."""

    epochs: int = Field(50, ge=1, description="At most.")
    image_size: int = Field(224, ge=32, description="Side of the training images in pixels.")
    unfrozen_layers: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        0,
        description="The last layers of the backbone that learn with the head, save batch normalisation, which "
        "keeps its statistics; 'all': every layer, batch normalisation included.",
    )
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = Field(0.0, ge=0, description="AdamW's, not on biases and normalisation.")
    peak_learning_rate: float = Field(1e-3, gt=0, description="After the warm-up. Source of 1e-3: original study.")
    final_learning_rate: float = Field(
        1e-6, ge=0, description="Of the cosine's last epoch, or the least of a plateau. Source: original study."
    )
    plateau: Plateau | None = Field(None, description="Instead of a cosine by epoch.")
    warmup_epochs: int = Field(0, ge=0, description="Epochs that climb to the peak.")
    schedule_epochs: int | None = Field(
        None,
        ge=1,
        description="Length of the cosine where it is not ``epochs``: a stage cut short keeps its rate high.",
    )
    augmentation: Augmentation | None = Field(None, description="Instead of the run's.")
    mixup_alpha: float | None = Field(None, ge=0, description="Instead of the run's.")
    checkpoint_monitor: Monitor = Field("val_accuracy", description="Chooses the epoch whose weights are kept.")
    stopping_monitor: Monitor = Field("val_accuracy", description="Of EarlyStopping.")
    patience: int = Field(15, ge=1, description="Of EarlyStopping. Source of 15: original study.")

    @model_validator(mode="after")
    def _has_one_schedule(self) -> Self:
        if self.plateau and (self.warmup_epochs or self.schedule_epochs):
            raise ValueError("a plateau takes neither warmup_epochs nor schedule_epochs, which are the cosine's")
        return self


class FitConfig(_Frozen):
    """One backbone's training run."""

    recipe: str = Field("unnamed", pattern=r"^\w[\w.-]*$", description="Its name, in reports and folders.")
    backbone: BackboneName = "NASNetLarge"
    weights: str = Field("imagenet", description="'imagenet', 'random', or a path to a Keras weights file.")
    scaling: Scaling = Field(
        "native",
        description="Of the image 0..1 inside the model. 'native': what the backbone's ImageNet weights were trained "
        "with; 'none'; 'second_division': by 255 once more, to 0..0.0039, as in the original study.",
    )
    cover_corners: bool = Field(
        False,
        description="Whether the model covers, inside its graph, what lies outside of the circle inscribed in the "
        "square: burned-in text and the background of the corners, which tell sources apart.",
    )
    seed: int = Field(
        7, ge=0, lt=2**32, description="Of initial weights, order and augmentation. Source: original study."
    )
    split_seed: int = Field(
        7, ge=0, lt=2**32, description="Of the split: seeds are compared on the same images. Source: as ``seed``."
    )
    preprocessing: PreprocessingVersion = Field(
        1,
        description="Of images that are not square. 1: squeezed, the aspect ratio not kept, as in the original study; "
        "2: their centre square.",
    )
    batch_size: int = Field(32, ge=2)
    label_smoothing: float = Field(0.2, ge=0, lt=1, description="Source of 0.2: original study.")
    mixup_alpha: float = Field(0.0, ge=0, description="Beta parameter of mixup (arXiv:1710.09412); 0: off.")
    balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How much more an image weighs whose pair of source and class is rare: the number of the pair's "
        "images to the power of minus this. 0: all weigh alike; 1: all pairs do.",
    )
    batch_norm_momentum: float | None = Field(
        None, gt=0, lt=1, description="Of the backbone's moving statistics; None: as Keras builds it."
    )
    average_decay: float = Field(0.0, ge=0, lt=1, description="Of the weights' moving average a step; 0: no average.")
    head: Head = Head()
    augmentation: Augmentation = Augmentation()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(),)

    @property
    def name(self) -> str:
        """Name the run among those of a study."""
        return f"{self.recipe}/{self.backbone}/{self.seed}"

    @property
    def initial_weights(self) -> str:
        """Say for everybody to read where the run begins: "imagenet", "random" or "a file", which is not named."""
        return self.weights if self.weights in ("imagenet", "random") else "a file"

    @property
    def scaling_in_words(self) -> str:
        """Say what becomes of the image 0..1 inside the model before the backbone sees it."""
        return self.scaling.replace("_", " ") + (", corners covered" if self.cover_corners else "")

    def of_stage(self, stage: Stage) -> "FitConfig":
        """Return the configuration with the augmentation and mixup that a stage brings instead of the run's."""
        brought = {name: getattr(stage, name) for name in ("augmentation", "mixup_alpha")}
        return self.model_copy(update={name: value for name, value in brought.items() if value is not None})

    def has_constant_features(self, stage: Stage) -> bool:
        """Say whether the backbone gives an image the same features in every epoch of a stage."""
        effective = self.of_stage(stage)
        return stage.unfrozen_layers == 0 and effective.augmentation.changes_nothing and not effective.mixup_alpha


class Execution(_Frozen):
    """How a run is computed: no part of the recipe, but recorded beside it.

    Raises:
        TrainingError: A float16 softmax without float16.
    """

    precision: Precision = Field("float32", description="Keras' dtype policy; weights are float32 in each.")
    float16_softmax: bool = Field(False, description="As in the original study; otherwise the softmax is float32.")
    xla: bool | Literal["auto"] = Field(
        "auto", description="'auto': as Keras decides for the device. JAX compiles with it unless it is false."
    )
    devices: int = Field(1, ge=1, description="That share each batch, those of all machines together.")

    @model_validator(mode="after")
    def _has_float16(self) -> Self:
        if self.float16_softmax and self.precision != "mixed_float16":
            raise TrainingError(f"A float16 softmax needs the precision mixed_float16, not {self.precision}.")
        return self


DEFAULT_EXECUTION: Final = Execution()
"""Float32, and XLA as Keras decides for the device."""


class StudyConfig(_Frozen):
    """A comparison: its runs in the order in which they are trained, on the same parts of the same images."""

    runs: Annotated[tuple[FitConfig, ...], Field(min_length=1)]
    limit: int | None = Field(None, ge=1, description="To about so many images, by whole groups; None: all.")
    execution: Execution = Field(DEFAULT_EXECUTION, description="Of every run.")

    @model_validator(mode="after")
    def _can_be_compared(self) -> Self:
        names = [run.name for run in self.runs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TrainingError(f"Two runs are called {twice[0]}: give each recipe a name of its own in its file.")
        if len({run.split_seed for run in self.runs}) > 1:
            raise TrainingError("The recipes split the data differently: give them the same split_seed.")
        backbones = {run.backbone: run.weights for run in self.runs if run.initial_weights == "a file"}
        if len(set(backbones.values())) < len(backbones):
            raise TrainingError(
                f"One weights file cannot fit {' and '.join(backbones)}: give --backbone one of them, or a recipe that "
                "names a file for each in its [only.<backbone>] tables."
            )
        return self


class _RecipeFile(FitConfig):
    """A recipe with what holds for one backbone alone."""

    only: dict[BackboneName, dict[str, Any]] = {}


def read_recipe(path: Path, **overrides: object) -> FitConfig:
    """Read a recipe, a TOML file with the fields of ``FitConfig``.

    A table ``[only.<backbone>]`` holds fields that replace the others for that backbone.

    Args:
        path: The file.
        overrides: Fields that replace the file's; None leaves the file's value.

    Raises:
        TrainingError: The file is missing or not a recipe; names the field.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"The recipe {path} is not valid TOML: {error}.") from error
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        file = _RecipeFile.model_validate(fields | given)
        fields = fields | file.only.get(file.backbone, {}) | given
        return FitConfig.model_validate({name: value for name, value in fields.items() if name != "only"})
    except ValidationError as error:
        raise TrainingError(f"The recipe {path} is not valid: {_first_error(error)}.") from error


def recipe_toml(config: FitConfig) -> str:
    """Write a recipe as ``read_recipe`` reads it."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))  # What TOML has no word for, is a default.


def _first_error(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    received = "" if isinstance(first["input"], dict) else f" (received {first['input']!r})"
    return f"{field}: {first['msg'].removeprefix('Value error, ')}{received}"
