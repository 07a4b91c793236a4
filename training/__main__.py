"""Command line: ``python -m training``, a command for each thing that is done with a data folder.

Results go to files and standard output, progress to standard error. Exit codes: 0 done, 1 the command
could not go on (the reason is on standard error), 2 wrong usage.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.errors import TrainingError
from training.config import STUDY_BACKBONES, StudyConfig
from training.judging import crossvalidate, gate, negatives, probe
from training.options import (
    BACKBONE_HELP,
    JOIN,
    RECIPE_HELP,
    STDERR,
    STUDY_RECIPES,
    BatchSize,
    DataFolder,
    Devices,
    Epochs,
    Float16Softmax,
    ModelFolder,
    Models,
    PrecisionOption,
    PreprocessingOption,
    Prevalences,
    Public,
    SkipUnreadable,
    Weights,
    Xla,
    command_line,
    errors_for_people,
    execution_of,
    prevalences_of,
    read_data,
    recipe_of,
    say_how_split,
)

if TYPE_CHECKING:
    from app.artifact import Artifact

app = typer.Typer(no_args_is_help=True, help="Train and export the chest X-ray classifier. Research use only.")


@app.command()
def preview(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of the figures.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of images.")] = 7,
    count: Annotated[int, typer.Option(min=1, max=100, help="Images to show.")] = 15,
    preprocessing: PreprocessingOption = 1,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Draw some images as the network sees them, and the class counts, as PNG files.

    Example: python -m training preview --data covid-xray-dataset --out preview
    """
    with errors_for_people():
        from training.preview import preview as run_preview

        for path in run_preview(read_data(data, skip_unreadable), out, seed, count, preprocessing):
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
    with errors_for_people():
        from training.data_card import write_data_card
        from training.data_facts import measure_data

        manifest = read_data(data, skip_unreadable)
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
    with errors_for_people():
        runs = tuple(
            recipe_of(name, epochs, backbone=of, seed=number, weights=weights, batch_size=batch_size)
            for name in recipe or STUDY_RECIPES
            for of in backbone or STUDY_BACKBONES
            for number in seed or (None,)
        )
        execution = execution_of(precision, float16_softmax, xla, devices)
        config = StudyConfig(runs=runs, limit=limit, execution=execution)
        from training.study import study as run_study

        manifest = read_data(data, skip_unreadable)
        say_how_split(manifest)
        outcome = run_study(manifest, config, out, models, command_line())
        typer.echo(outcome.report)
        typer.echo(f"winner on validation: {outcome.winner}")
        if outcome.artifact:
            _print_artifact(outcome.artifact)
        else:
            note = f"To export it with TensorFlow: python -m training export {out} --data {data}"
            STDERR.print(note, soft_wrap=True)


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
    with errors_for_people():
        from training.report import write_report
        from training.study_folder import open_study, read_evidence

        evidence = read_evidence(open_study(run, read_data(data, skip_unreadable)))
        typer.echo(write_report(evidence, out or run / "report", public=public))


@app.command()
def fit(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run of the same recipe in it is resumed.")],
    recipe: Annotated[str, typer.Option(help=RECIPE_HELP)] = "native",
    backbone: Annotated[str | None, typer.Option(help=BACKBONE_HELP)] = None,
    weights: Weights = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")] = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    precision: PrecisionOption = "float32",
    float16_softmax: Float16Softmax = False,
    xla: Xla = None,
    devices: Devices = "1",
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", envvar=JOIN[0], help="Of several machines: process 0's address.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=2, envvar=JOIN[1], help="Of several machines: how many, one process on each.")
    ] = None,
    process: Annotated[
        int | None, typer.Option(min=0, envvar=JOIN[2], help="Of several machines: this process' number, from 0.")
    ] = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Train one backbone.

    Example: python -m training fit --data covid-xray-dataset --backbone NASNetLarge --out runs/nasnetlarge
    """
    with errors_for_people():
        config = recipe_of(recipe, epochs, backbone=backbone, weights=weights, seed=seed, batch_size=batch_size)
        from training.devices import join
        from training.fit import fit as run_fit

        join(coordinator, processes, process)
        execution = execution_of(precision, float16_softmax, xla, devices)
        manifest = read_data(data, skip_unreadable)
        say_how_split(manifest)
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
    backbone: Annotated[str | None, typer.Option(help=BACKBONE_HELP)] = None,
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
    with errors_for_people():
        config = recipe_of(recipe, epochs, backbone=backbone, weights=weights, seed=seed)
        execution = execution_of(precision, float16_softmax, xla)
        from training.search.tune import tune as run_tune

        manifest = read_data(data, skip_unreadable)
        say_how_split(manifest)
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
    int8: Annotated[
        bool, typer.Option("--int8", help="Also quantized to int8, kept if as accurate; needs the extra 'quantize'.")
    ] = False,
    sensitivity: Annotated[
        float | None,
        typer.Option(help="On validation, that the threshold must reach, 0.95 say; by default Youden's J chooses it."),
    ] = None,
    prevalence: Prevalences = None,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Export a finished run as a SavedModel that the service loads, and measure it on the test part.

    What bf16 and int8 change is measured on validation; the service uses a precision only where that is little enough.
    Model card and data card are written into the model's folder, a reliability diagram into the run's.

    Example: python -m training export runs/study --data covid-xray-dataset --backbone NASNetLarge
    """
    with errors_for_people():
        from training.environment import can_export

        if not can_export():
            raise TrainingError("An export needs TensorFlow as Keras' backend: install it, and unset KERAS_BACKEND.")
        manifest = read_data(data, skip_unreadable)
        prevalences = prevalences_of(prevalence)
        if (run / "study.json").exists():
            from training.study import export_run
            from training.study_folder import find_run, open_study

            opened = open_study(run, manifest)
            chosen = find_run(opened, backbone, recipe)
            exported = export_run(
                opened, chosen, models, name, int8=int8, sensitivity=sensitivity, prevalences=prevalences
            )
            _print_artifact(exported)
            return
        if backbone or recipe:
            raise TrainingError(f"{run} is no study folder: --backbone and --recipe choose among a study's runs.")
        from training.export import export as run_export

        exported = run_export(run, manifest, models, name, int8=int8, sensitivity=sensitivity, prevalences=prevalences)
        _print_artifact(exported)


@app.command()
def card(
    model: ModelFolder,
    probe: Annotated[Path | None, typer.Option(help="probe.json, as 'probe' wrote it.")] = None,
    gate: Annotated[Path | None, typer.Option(help="JSON with the measured rates of the input gate.")] = None,
    ablation: Annotated[Path | None, typer.Option(help="JSON with what each change of the training did.")] = None,
) -> None:
    """Write an exported model's card again, with measurements that were made since.

    Graph and weights stay as they are. The artifact's digest changes with its card, and a signature is removed: note
    the new digest wherever the old one is, and sign again.

    Example: python -m training card --model models/efficientnetlite0 --probe probe.json
    """
    with errors_for_people():
        from app.artifact import MODEL_CARD, open_artifact
        from training.card_facts import read_measurement
        from training.card_writing import rewrite_card

        given = {name: path for name, path in (("probe", probe), ("gate", gate), ("ablation", ablation)) if path}
        before = open_artifact(model)
        after = rewrite_card(model, {name: read_measurement(path) for name, path in given.items()})
        typer.echo(after.path / MODEL_CARD)
        typer.echo(f"digest {after.digest}")
        if after.digest != before.digest:
            note = f"The digest was {before.digest}. What names it, or a signature of it, is of the earlier card."
            STDERR.print(note, soft_wrap=True)


@app.command()
def evaluate(
    model: ModelFolder,
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder of the report.")],
    engine: Annotated[Literal["openvino", "tensorflow"], typer.Option(help="What runs the model.")] = "openvino",
    prevalence: Prevalences = None,
    public: Public = False,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Report what an exported model reaches on images of your own, through the engine that serves it.

    One of the two class folders may be missing. The threshold is the model's. summary.html is one page for clinicians,
    with a conclusion; index.html is the technical report.

    Example: python -m training evaluate --model models/efficientnetlite0 --data our-hospital --out evaluation
    """
    with errors_for_people():
        from training.external import evaluate as run_evaluate
        from training.report import write_report
        from training.summary import write_summary

        prevalences = prevalences_of(prevalence)
        manifest = read_data(data, skip_unreadable, both_classes=False)
        evidence = run_evaluate(model, manifest, engine, command_line())
        typer.echo(write_report(evidence, out, public=public, prevalence=prevalences[0]))
        typer.echo(write_summary(evidence, out, prevalences))


@app.command()
def sign(
    model: ModelFolder,
    key: Annotated[Path, typer.Option(help="Ed25519 private key, PEM, without a passphrase.")],
) -> None:
    """Sign an exported model, for services that are told a public key (CXR_MODEL_PUBLIC_KEY).

    Example: python -m training sign --model models/nasnetlarge --key private.pem
    """
    with errors_for_people():
        from training.sign import sign_artifact

        typer.echo(sign_artifact(model, key))


app.command()(crossvalidate)
app.command()(probe)
app.command()(gate)
app.command()(negatives)


def _print_artifact(artifact: "Artifact") -> None:
    from training.card_results import precision_table

    typer.echo(artifact.path)
    for metric, measured in artifact.metadata.metrics["test"]["metrics"].items():
        typer.echo(f"{metric} {measured['value']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})")
    typer.echo(f"\n{precision_table(artifact.metadata)}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app()
