"""The commands that judge recipes and models by more than one figure."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from training.options import (
    BACKBONE_HELP,
    RECIPE_HELP,
    BatchSize,
    DataFolder,
    Epochs,
    ModelFolder,
    PrecisionOption,
    Public,
    SkipUnreadable,
    SplitSeed,
    Weights,
    Xla,
    command_line,
    errors_for_people,
    execution_of,
    read_data,
    recipe_of,
    say_how_split,
)


def crossvalidate(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of the cross-validation; one of the same in it is gone on with.")],
    recipe: Annotated[list[str], typer.Option(help=f"{RECIPE_HELP} Repeatable: each is compared with the first.")],
    folds: Annotated[int, typer.Option(min=2, max=20, help="By group, with the shares of class and source.")] = 5,
    fold: Annotated[
        list[int] | None, typer.Option(min=1, help="Train this fold alone, from 1; repeatable. By default all.")
    ] = None,
    include_test: Annotated[
        bool, typer.Option("--include-test", help="The usual test part too: for a final statement, not for a choice.")
    ] = False,
    backbone: Annotated[str | None, typer.Option(help=f"Of every recipe, instead of its own. {BACKBONE_HELP}")] = None,
    weights: Weights = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, order and augmentation.")] = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    precision: PrecisionOption = "float32",
    xla: Xla = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Cross-validate recipes by group and compare them, above all within the sources that hold both classes.

    By default on the images of training and validation alone, so that a recipe is chosen without a look at the test
    part. Every fold is a run folder; cut off, the same command goes on. Recipes may be added later, and several
    processes may each train other folds (--fold). Beside the figures stand those on the same images with the lungs
    covered, and on their borders only.

    Example: python -m training crossvalidate --data covid-xray-dataset --recipe native --recipe mine.toml --out runs/cv
    """
    with errors_for_people():
        given = {"backbone": backbone, "weights": weights, "seed": seed, "batch_size": batch_size}
        recipes = tuple(recipe_of(name, epochs, **given) for name in recipe)
        execution = execution_of(precision, False, xla)
        from training.crossvalidation.run import Plan
        from training.crossvalidation.run import crossvalidate as run_crossvalidation

        manifest = read_data(data, skip_unreadable)
        say_how_split(manifest)
        plan = Plan(recipes, folds, tuple(fold or ()), include_test, execution)
        typer.echo(run_crossvalidation(manifest, plan, out, command_line()))


def probe(
    model: ModelFolder,
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of probe.md, probe.json and altered.png.")],
    part: Annotated[
        Literal["validation", "test"], typer.Option(help="Of the split; the test part once, when all is chosen.")
    ] = "validation",
    split_seed: SplitSeed = 7,
    public: Public = False,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Measure what an exported model goes by: its answers with the lungs covered, on borders, at matched brightness.

    Through the engine that serves, on the data that it was trained on. Besides: whether its features tell the source
    of an image, and what trivial rules reach.

    Example: python -m training probe --model models/efficientnetlite0 --data covid-xray-dataset --out probe
    """
    with errors_for_people():
        from training.probe.measure import probe as run_probe
        from training.probe.write import write_probe

        manifest = read_data(data, skip_unreadable)
        say_how_split(manifest)
        typer.echo(write_probe(run_probe(model, manifest, part, split_seed), out, public=public))


def negatives(
    out: Annotated[Path, typer.Option(help="Folder, of which each kind of image gets one.")],
) -> None:
    """Gather images that are no chest radiographs, to measure an input gate with: from installed packages, and drawn.

    Example: python -m training negatives --out negatives
    """
    with errors_for_people():
        from training.negatives import write_negatives

        for kind, count in write_negatives(out).items():
            typer.echo(f"{kind} {count}")


def gate(
    model: ModelFolder,
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of gate.md and gate.json.")],
    negatives: Annotated[
        Path | None, typer.Option(help="Folder of images that are no frontal chest radiographs, by kind in folders.")
    ] = None,
    split_seed: SplitSeed = 7,
    list_files: Annotated[
        bool, typer.Option("--list-files", help="Name radiographs by path, for the owner of the data; else by digest.")
    ] = False,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Measure a model's input gate: radiographs that it refuses or misnames, other images that it lets through.

    Of the data that the model was trained on the test part is taken, of other data all.

    Example: python -m training gate --model models/efficientnetlite0 --data covid-xray --negatives negatives --out gate
    """
    with errors_for_people():
        from training.gate_report import measure_gate, write_gate_report

        manifest = read_data(data, skip_unreadable, both_classes=False)
        measured = measure_gate(model, manifest, split_seed, negatives, command_line(), list_files=list_files)
        typer.echo(write_gate_report(measured, out))
