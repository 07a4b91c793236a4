"""Command line: ``python -m training``, a command for each thing that is done with a data folder.

Results go to files and standard output, progress to standard error. Exit codes: 0 done, 1 the command
could not go on (the reason is on standard error), 2 wrong usage.
"""

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console

from app.errors import CxrError, TrainingError
from training.config import Execution, FitConfig, Precision, StudyConfig, read_recipe

if TYPE_CHECKING:
    from app.artifact import Artifact
    from training.manifest import Manifest

RECIPES: Final = Path(__file__).parent / "recipes"
RECIPE_HELP: Final = "A TOML file, or the name of one that ships: native, original, scratch, shipped."
STUDY_RECIPES: Final = ("original", "native")
STUDY_BACKBONES: Final = ("VGG16", "ResNet50", "NASNetLarge")
"""Those that the original study compared."""

_JOIN: Final = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID")
"""Keras' own environment variables, for a launcher that sets them."""

app = typer.Typer(no_args_is_help=True, help="Train and export the chest X-ray classifier. Research use only.")
_stderr = Console(stderr=True)

DataFolder = Annotated[Path, typer.Option("--data", help="Folder with 0/ and 1/, or non-COVID/ and COVID-19/.")]
Weights = Annotated[str | None, typer.Option(help="'imagenet', 'random', or a Keras weights file.")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Images a step.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="At most, in every stage.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="What is computed in; weights stay float32.")]
Float16Softmax = Annotated[bool, typer.Option("--float16-softmax", help="With mixed_float16.")]
Xla = Annotated[bool | None, typer.Option("--xla/--no-xla", help="By default as Keras decides.")]
Devices = Annotated[
    str, typer.Option(help="Devices that share each batch: a number, or 'all'. More than one needs the JAX backend.")
]
Models = Annotated[Path, typer.Option(help="Where models/<name>/<version> is made.")]
Public = Annotated[bool, typer.Option("--public", help="Without images, file names, groups: for anybody to read.")]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")]


@app.command()
def preview(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of the figures.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of images.")] = 7,
    count: Annotated[int, typer.Option(min=1, max=100, help="Images to show.")] = 15,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Draw some images as the network sees them, and the class counts, as PNG files.

    Example: python -m training preview --data covid-xray-dataset --out preview
    """
    with _errors_for_people():
        from training.preview import preview as run_preview

        for path in run_preview(_read_manifest(data, skip_unreadable), out, seed, count):
            typer.echo(path)


@app.command("data")
def data_card(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of data_card.md and data_card.json.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 7,
    list_files: Annotated[
        bool, typer.Option("--list-files", help="Name files by path, for the owner of the data; otherwise by digest.")
    ] = False,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Write the data card: counts, sizes, duplicates, the split, and what gives the class away.

    Example: python -m training data --data covid-xray-dataset --out card
    """
    with _errors_for_people():
        from training.data_card import write_data_card
        from training.data_facts import measure_data

        manifest = _read_manifest(data, skip_unreadable)
        facts = measure_data(manifest, seed, list_files=list_files, progress="Measuring images")
        typer.echo(write_data_card(facts, out))


@app.command()
def study(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Study folder; an unfinished study of the same runs in it is resumed.")],
    recipe: Annotated[list[str] | None, typer.Option(help=f"{RECIPE_HELP} Repeatable; original and native.")] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(help="Repeatable; by default VGG16, ResNet50 and NASNetLarge.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Of weights, order and augmentation; repeatable. By default the recipe's.")
    ] = None,
    weights: Weights = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    limit: Annotated[int | None, typer.Option(min=1, help="About so many images, for a quick look.")] = None,
    precision: PrecisionOption = "float32",
    float16_softmax: Float16Softmax = False,
    xla: Xla = None,
    devices: Devices = "1",
    models: Models = Path("models"),
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Train and compare backbones under one protocol, write the report, and export the winner on validation.

    Cut off, the same command goes on from the last finished epoch.

    Example: python -m training study --data covid-xray-dataset --out runs/study
    """
    with _errors_for_people():
        runs = tuple(
            _recipe(name, epochs, backbone=of, seed=number, weights=weights, batch_size=batch_size)
            for name in recipe or STUDY_RECIPES
            for of in backbone or STUDY_BACKBONES
            for number in seed or (None,)
        )
        config, execution = StudyConfig(runs=runs, limit=limit), _execution(precision, float16_softmax, xla, devices)
        from training.study import study as run_study

        manifest = _read_manifest(data, skip_unreadable)
        _say_how_split(manifest)
        outcome = run_study(manifest, config, execution, out, models, _command())
        typer.echo(outcome.report)
        typer.echo(f"winner on validation: {outcome.winner}")
        if outcome.artifact:
            _print_artifact(outcome.artifact)
        else:
            note = f"To export it with TensorFlow: python -m training export {out} --data {data}"
            _stderr.print(note, soft_wrap=True)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Study folder that 'study' has finished.")],
    data: DataFolder,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; by default report/ in the study's.")] = None,
    public: Public = False,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Write the report of a finished study again.

    Example: python -m training report runs/study --data covid-xray-dataset --public --out docs/study
    """
    with _errors_for_people():
        from training.report import write_report
        from training.study_folder import open_study, read_evidence

        evidence = read_evidence(open_study(run, _read_manifest(data, skip_unreadable)))
        typer.echo(write_report(evidence, out or run / "report", public=public))


@app.command()
def fit(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run of the same recipe in it is resumed.")],
    recipe: Annotated[str, typer.Option(help=RECIPE_HELP)] = "native",
    backbone: Annotated[str | None, typer.Option(help="VGG16, ResNet50, NASNetLarge or NASNetMobile.")] = None,
    weights: Weights = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")] = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    precision: PrecisionOption = "float32",
    float16_softmax: Float16Softmax = False,
    xla: Xla = None,
    devices: Devices = "1",
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", envvar=_JOIN[0], help="Of several machines: process 0's address.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=2, envvar=_JOIN[1], help="Of several machines: how many, one process on each.")
    ] = None,
    process: Annotated[
        int | None, typer.Option(min=0, envvar=_JOIN[2], help="Of several machines: this process' number, from 0.")
    ] = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Train one backbone.

    Example: python -m training fit --data covid-xray-dataset --backbone NASNetLarge --out runs/nasnetlarge
    """
    with _errors_for_people():
        config = _recipe(recipe, epochs, backbone=backbone, weights=weights, seed=seed, batch_size=batch_size)
        from training.devices import join
        from training.fit import fit as run_fit

        join(coordinator, processes, process)
        execution = _execution(precision, float16_softmax, xla, devices)
        manifest = _read_manifest(data, skip_unreadable)
        _say_how_split(manifest)
        run_fit(manifest, config, out, execution)
        typer.echo(out / "best.weights.h5")


@app.command()
def tune(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of the search; one of the same search in it is gone on with.")],
    trials: Annotated[int, typer.Option(min=1, help="Finished ones of the whole study, whoever ran them.")] = 30,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Database of the study, as an SQLAlchemy URL; by default study.db in --out, which is SQLite."
        ),
    ] = None,
    study_name: Annotated[str, typer.Option("--study", help="Name of the study in its database.")] = "tune",
    recipe: Annotated[str, typer.Option(help=RECIPE_HELP)] = "native",
    backbone: Annotated[str | None, typer.Option(help="VGG16, ResNet50, NASNetLarge or NASNetMobile.")] = None,
    weights: Weights = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the search and of every trial's training.")] = None,
    epochs: Epochs = None,
    precision: PrecisionOption = "float32",
    float16_softmax: Float16Softmax = False,
    xla: Xla = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Search learning rates, dropout, head widths, batch size, label smoothing and layers to unfreeze.

    Trials change the recipe, the first being the recipe as it is, and are judged by validation accuracy; the test part
    is not looked at. Trials that fall behind the median are ended early. The best becomes best.toml in --out, a recipe
    for 'fit --recipe' and 'study --recipe'.

    Start the same command again to go on after it was cut off, or several times at once for several workers: they share
    the study and its number of trials. For several machines give each the same database, --storage
    postgresql://user@host/name.

    Example: python -m training tune --data covid-xray-dataset --backbone NASNetLarge --out runs/search --trials 30
    """
    with _errors_for_people():
        config = _recipe(recipe, epochs, backbone=backbone, weights=weights, seed=seed)
        execution = _execution(precision, float16_softmax, xla)
        from training.tune import tune as run_tune

        manifest = _read_manifest(data, skip_unreadable)
        _say_how_split(manifest)
        result = run_tune(manifest, config, out, trials, execution, storage=storage, study_name=study_name)
        typer.echo(result.table)
        typer.echo(result.best)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder that 'fit' has finished, or study folder.")],
    data: DataFolder,
    backbone: Annotated[str | None, typer.Option(help="Of a study: this one's best run, not the winner.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Of a study: this one's best run, not the winner.")] = None,
    models: Models = Path("models"),
    name: Annotated[str | None, typer.Option(help="Of the model; by default the backbone's in lower case.")] = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Export a finished run as a SavedModel that the service loads, and measure it on the test part.

    Example: python -m training export runs/study --data covid-xray-dataset --backbone NASNetLarge
    """
    with _errors_for_people():
        if not find_spec("tensorflow") or os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
            raise TrainingError("An export needs TensorFlow as Keras' backend: install it, and unset KERAS_BACKEND.")
        manifest = _read_manifest(data, skip_unreadable)
        if (run / "study.json").exists():
            from training.study import export_run
            from training.study_folder import find_run, open_study, read_models

            opened = open_study(run, manifest)
            chosen = find_run(opened, read_models(opened), backbone, recipe)
            _print_artifact(export_run(opened, chosen, models, name))
            return
        if backbone or recipe:
            raise TrainingError(f"{run} is no study folder: --backbone and --recipe choose among a study's runs.")
        from training.export import export as run_export

        _print_artifact(run_export(run, manifest, models, name))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="models/<name>/<version>, or models/<name> for its highest version.")],
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of the report.")],
    engine: Annotated[Literal["openvino", "tensorflow"], typer.Option(help="What runs the model.")] = "openvino",
    public: Public = False,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Report what an exported model reaches on images of your own, through the engine that serves it.

    One of the two class folders may be missing. The threshold is the model's.

    Example: python -m training evaluate --model models/nasnetmobile --data our-hospital --out evaluation
    """
    with _errors_for_people():
        from training.external import evaluate as run_evaluate
        from training.report import write_report

        manifest = _read_manifest(data, skip_unreadable, both_classes=False)
        typer.echo(write_report(run_evaluate(model, manifest, engine, _command()), out, public=public))


def _command() -> str:
    return shlex.join(["python", "-m", "training", *sys.argv[1:]])


def _print_artifact(artifact: "Artifact") -> None:
    typer.echo(artifact.path)
    for metric, measured in artifact.metadata.metrics["test"]["metrics"].items():
        typer.echo(f"{metric} {measured['value']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})")


def _read_manifest(data: Path, skip_unreadable: bool, *, both_classes: bool = True) -> "Manifest":
    from training.images import leave_out_unreadable
    from training.manifest import read_manifest

    manifest = read_manifest(data, both_classes=both_classes)
    return leave_out_unreadable(manifest, progress="Checking images") if skip_unreadable else manifest


def _recipe(recipe: str, epochs: int | None, **overrides: object) -> FitConfig:
    shipped = RECIPES / f"{recipe}.toml"
    config = read_recipe(shipped if shipped.exists() else Path(recipe), **overrides)
    if not epochs:
        return config
    stages = tuple(stage.model_copy(update={"epochs": epochs}) for stage in config.stages)
    return config.model_copy(update={"stages": stages})


def _execution(precision: Precision, float16_softmax: bool, xla: bool | None, devices: str = "1") -> Execution:
    from training.devices import count_devices

    return Execution(
        precision=precision,
        float16_softmax=float16_softmax,
        xla="auto" if xla is None else xla,
        devices=count_devices(devices),
    )


def _say_how_split(manifest: "Manifest") -> None:
    if not manifest.grouped:
        note = "metadata.csv does not give every image a group: a patient may be in two parts of the split."
        _stderr.print(note, soft_wrap=True)


@contextmanager
def _errors_for_people() -> Iterator[None]:
    try:
        yield
    except (CxrError, OSError) as error:
        _stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app()
