"""What the commands share: options that several of them take, how these are read, and how errors are told."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer
from rich.console import Console

from app.errors import CxrError
from app.imaging import PREPROCESSING_VERSIONS
from training.config import RECIPES, BackboneName, Execution, FitConfig, Precision, read_recipe

if TYPE_CHECKING:
    from training.manifest import Manifest

STDERR: Final = Console(stderr=True)

RECIPE_HELP: Final = "A TOML file, or the name of one that ships: native, original, scratch, shipped."
BACKBONE_HELP: Final = f"One of {', '.join(get_args(BackboneName))}."
STUDY_RECIPES: Final = ("original", "native")
JOIN: Final = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID")
"""Keras' own environment variables, for a launcher that sets them."""

DataFolder = Annotated[Path, typer.Option("--data", help="Folder with 0/ and 1/, or non-COVID/ and COVID-19/.")]
Weights = Annotated[str | None, typer.Option(help="'imagenet', 'random', or a Keras weights file.")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Images a step.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="At most, in every stage.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="What is computed in; weights stay float32.")]
PreprocessingOption = Annotated[
    int,
    typer.Option(
        "--preprocessing",
        min=min(PREPROCESSING_VERSIONS),
        max=max(PREPROCESSING_VERSIONS),
        help="Its version: "
        + "; ".join(f"{number}, {words}" for number, words in PREPROCESSING_VERSIONS.items())
        + ".",
    ),
]
Float16Softmax = Annotated[bool, typer.Option("--float16-softmax", help="With mixed_float16.")]
Xla = Annotated[bool | None, typer.Option("--xla/--no-xla", help="By default as Keras decides.")]
Devices = Annotated[
    str, typer.Option(help="Devices that share each batch: a number, or 'all'. More than one needs the JAX backend.")
]
Models = Annotated[Path, typer.Option(help="Where models/<name>/<version> is made.")]
ModelFolder = Annotated[Path, typer.Option(help="models/<name>/<version>, or models/<name> for its highest version.")]
SplitSeed = Annotated[int, typer.Option(min=0, help="Of the split: that of the model's recipe.")]
Prevalences = Annotated[
    list[float] | None,
    typer.Option(
        "--prevalence",
        help="Of COVID-19 among those examined, for predictive values; repeatable. By default 0.01, 0.05 and 0.2.",
    ),
]
Public = Annotated[bool, typer.Option("--public", help="Without images, file names, groups: for anybody to read.")]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")]


def read_data(data: Path, skip_unreadable: bool, *, both_classes: bool = True) -> "Manifest":
    """Read a data folder, if asked without the images that cannot be decoded."""
    from training.images import leave_out_unreadable
    from training.manifest import read_manifest

    manifest = read_manifest(data, both_classes=both_classes)
    return leave_out_unreadable(manifest, progress="Checking images") if skip_unreadable else manifest


def recipe_of(recipe: str, epochs: int | None, **overrides: object) -> FitConfig:
    """Read a recipe by its name or path, with what the options say instead."""
    shipped = RECIPES / f"{recipe}.toml"
    config = read_recipe(shipped if shipped.exists() else Path(recipe), **overrides)
    if not epochs:
        return config
    stages = tuple(stage.model_copy(update={"epochs": epochs}) for stage in config.stages)
    return config.model_copy(update={"stages": stages})


def execution_of(precision: Precision, float16_softmax: bool, xla: bool | None, devices: str = "1") -> Execution:
    """Gather the options on how a run is computed."""
    from training.devices import count_devices

    return Execution(
        precision=precision,
        float16_softmax=float16_softmax,
        xla="auto" if xla is None else xla,
        devices=count_devices(devices),
    )


def prevalences_of(given: list[float] | None) -> tuple[float, ...]:
    """Return the prevalences that were given, each once, or those that stand in the help."""
    from training.prevalence import PREVALENCES, check_prevalence

    for prevalence in given or ():
        check_prevalence(prevalence)
    return tuple(dict.fromkeys(given or PREVALENCES))


def say_how_split(manifest: "Manifest") -> None:
    """Warn where patients are unknown."""
    if not manifest.grouped:
        note = "metadata.csv does not give every image a group: a patient may be in two parts of the split."
        STDERR.print(note, soft_wrap=True)


def command_line() -> str:
    """Return the command as it was typed, for the record."""
    return shlex.join(["python", "-m", "training", *sys.argv[1:]])


@contextmanager
def errors_for_people() -> Iterator[None]:
    """End the command with a line and exit code 1 where a person can act on what went wrong."""
    try:
        yield
    except (CxrError, OSError) as error:
        STDERR.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
