"""Command line: ``python -m training`` with ``data``, ``preview``, ``fit`` or ``export``.

Results go to files and standard output, progress to standard error. Exit codes: 0 done, 1 the command
could not go on (the reason is on standard error), 2 wrong usage.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from app.errors import CxrError
from training.config import Execution, Precision, read_recipe

if TYPE_CHECKING:
    from training.manifest import Manifest

RECIPES: Final = Path(__file__).parent / "recipes"

_JOIN: Final = {
    "coordinator": "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "processes": "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "process": "KERAS_DISTRIBUTION_PROCESS_ID",
}
"""Keras' own environment variables, for a launcher that sets them."""

app = typer.Typer(no_args_is_help=True, help="Train and export the chest X-ray classifier. Research use only.")
_stderr = Console(stderr=True)

DataFolder = Annotated[Path, typer.Option("--data", help="Folder with 0/ and 1/, or non-COVID/ and COVID-19/.")]
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
def fit(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run of the same recipe in it is resumed.")],
    recipe: Annotated[
        str, typer.Option(help="A TOML file, or the name of one that ships: native, original, shipped.")
    ] = "native",
    backbone: Annotated[str | None, typer.Option(help="VGG16, ResNet50, NASNetLarge or NASNetMobile.")] = None,
    weights: Annotated[str | None, typer.Option(help="'imagenet', 'random', or a Keras weights file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of split, weights, order and augmentation.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images a step.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most, in every stage.")] = None,
    precision: Annotated[Precision, typer.Option(help="What is computed in; weights stay float32.")] = "float32",
    float16_softmax: Annotated[bool, typer.Option("--float16-softmax", help="With mixed_float16.")] = False,
    xla: Annotated[bool | None, typer.Option("--xla/--no-xla", help="By default as Keras decides.")] = None,
    devices: Annotated[str, typer.Option(help="That share each batch: a number, or 'all'. Needs the JAX backend.")] = "1",
    coordinator: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", envvar=_JOIN["coordinator"], help="Of several machines: process 0's address."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=2, envvar=_JOIN["processes"], help="Of several machines: how many, one on each.")
    ] = None,
    process: Annotated[
        int | None, typer.Option(min=0, envvar=_JOIN["process"], help="Of several machines: this one's number, from 0.")
    ] = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Train one backbone.

    Example: python -m training fit --data covid-xray-dataset --backbone NASNetLarge --out runs/nasnetlarge
    """
    with _errors_for_people():
        config = read_recipe(_recipe_path(recipe), backbone=backbone, weights=weights, seed=seed, batch_size=batch_size)
        if epochs:
            stages = tuple(stage.model_copy(update={"epochs": epochs}) for stage in config.stages)
            config = config.model_copy(update={"stages": stages})
        from training.devices import count_devices, join
        from training.fit import fit as run_fit

        join(coordinator, processes, process)
        execution = Execution(
            precision=precision,
            float16_softmax=float16_softmax,
            xla="auto" if xla is None else xla,
            devices=count_devices(devices),
        )
        manifest = _read_manifest(data, skip_unreadable)
        if not manifest.grouped:
            note = "metadata.csv does not give every image a group: a patient may be in two parts of the split."
            _stderr.print(note, soft_wrap=True)
        run_fit(manifest, config, out, execution)
        typer.echo(out / "best.weights.h5")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder that 'fit' has finished.")],
    data: DataFolder,
    models: Annotated[Path, typer.Option(help="Where models/<name>/<version> is made.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="Of the model; by default the backbone's in lower case.")] = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Export a finished run as a SavedModel that the service loads, and measure it on the test part.

    Example: python -m training export runs/nasnetlarge --data covid-xray-dataset
    """
    with _errors_for_people():
        from training.export import export as run_export

        artifact = run_export(run, _read_manifest(data, skip_unreadable), models, name)
        typer.echo(artifact.path)
        for metric, measured in artifact.metadata.metrics["test"]["metrics"].items():
            typer.echo(f"{metric} {measured['value']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})")


def _read_manifest(data: Path, skip_unreadable: bool) -> "Manifest":
    from training.images import leave_out_unreadable
    from training.manifest import read_manifest

    manifest = read_manifest(data)
    return leave_out_unreadable(manifest, progress="Checking images") if skip_unreadable else manifest


def _recipe_path(recipe: str) -> Path:
    shipped = RECIPES / f"{recipe}.toml"
    return shipped if shipped.exists() else Path(recipe)


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
