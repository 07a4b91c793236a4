"""Hyperparameter search: many trials of one recipe on one study, and the best as a recipe of its own.

The folder of a search holds ``study.db`` (the trials, unless another database was named), ``search.json`` (what is
searched), ``trials/<number>`` (the run folder of the best trial, and those of running ones), ``cache`` (decoded
squares), ``trials.csv`` and ``best.toml``. Trials are judged on validation alone; no image of the test part is decoded.
"""

import csv
import io
import os
import platform
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from app.errors import TrainingError
from training.atomic import replacing
from training.config import DEFAULT_EXECUTION, Execution, FitConfig, recipe_toml
from training.manifest import Manifest
from training.markdown import table
from training.search.space import own_parameters, search_space, with_parameters
from training.search.study import (
    SearchIdentity,
    database_errors,
    finished_trials,
    one_line_a_trial,
    open_study,
    run_until,
)
from training.search.trial import NOTE, OBJECTIVE, Objective
from training.splits import split

STUDY: Final = "tune"
"""Name of a study in its database, unless another is given."""

_STATES: Final = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned"}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search has found so far.

    Attributes:
        best: The recipe of the best trial, a file that ``fit --recipe`` takes.
        table: All finished trials, Markdown.
    """

    best: Path
    table: str


def tune(
    manifest: Manifest,
    base: FitConfig,
    out: Path,
    trials: int,
    execution: Execution = DEFAULT_EXECUTION,
    *,
    storage: str | None = None,
    study_name: str = STUDY,
) -> SearchResult:
    """Search around a recipe until a study has so many finished trials; several workers may do so at once.

    The first trial is the base recipe itself. A search by one worker that is not cut off repeats exactly where
    training does; several workers see each other's results in whatever order they come.

    Args:
        manifest: The data.
        base: What the trials change as ``search_space`` says.
        out: Folder of the search; made if missing, gone on with if it is of the same search.
        trials: Completed or pruned, of the whole study.
        execution: Precision and XLA.
        storage: The study's database as an SQLAlchemy URL; None: SQLite in ``out``.
        study_name: Of the study in it.

    Raises:
        TrainingError: The database cannot be used, the folder or the study is of another search, no trial was
            completed, or training cannot go on for a reason that settings do not change.
    """
    split(manifest, base.split_seed)  # What cannot be split is refused before there is a study of it.
    space = search_space(base)
    identity = SearchIdentity(
        data=manifest.digest,
        objective=OBJECTIVE,
        recipe=base,
        execution=execution,
        space={name: optuna.distributions.distribution_to_json(of) for name, of in space.items()},
    )
    _claim_folder(out, identity)
    url = storage or f"sqlite:///{(out / 'study.db').resolve()}"
    warmup = base.stages[0].epochs // 4  # Slow starters get a quarter of the first stage.
    with one_line_a_trial(), database_errors(url):
        study = open_study(url, study_name, identity, own_parameters(base), warmup)
        objective = Objective(manifest, base, space, execution, out / "trials", out / "cache")
        for _ in run_until(study, trials, objective):
            _record(study, identity, out)
        _record(study, identity, out)
        finished = finished_trials(study)
        if not _completed(finished):
            notes = sorted({str(trial.user_attrs.get(NOTE)) for trial in finished})
            raise TrainingError(
                f"None of the study's {len(finished)} trials was completed: {'; '.join(notes)}. "
                "Train the base recipe alone with 'fit' first, then search around one that trains."
            )
        header, *rows = _rows(finished, space)
        return SearchResult(out / "best.toml", table(header, [[_short(cell) for cell in row] for row in rows]))


def _claim_folder(out: Path, identity: SearchIdentity) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "search.json"
    if path.exists():
        identity.check(str(out), path.read_text(encoding="utf-8"))
    else:
        _replace(path, identity.model_dump_json(indent=2))


def _record(study: optuna.Study, identity: SearchIdentity, out: Path) -> None:
    """Write the best recipe and the table of trials, and drop the run folders of the others.

    Workers write over each other's files. Each looks again once it has written, so that the last to write has seen
    all that was finished before.
    """
    seen: list[FrozenTrial] | None = None
    while seen != (finished := finished_trials(study)):
        seen = finished
        text = io.StringIO(newline="")
        csv.writer(text).writerows(_rows(seen, identity.space))
        _replace(out / "trials.csv", text.getvalue())
        if _completed(seen):
            _replace(out / "best.toml", _recipe_text(study.study_name, seen, identity))
    _drop_folders(study, out / "trials")


def _completed(finished: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in finished if trial.state == TrialState.COMPLETE]


def _best(finished: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the first of the best."""
    return max(_completed(finished), key=lambda trial: trial.value or 0.0)


def _recipe_text(study: str, finished: Sequence[FrozenTrial], identity: SearchIdentity) -> str:
    best = _best(finished)
    comments = [
        f"Found by `python -m training tune`: trial {best.number} of the study {study!r}, the best of {len(finished)} "
        f"finished, {len(_completed(finished))} of them to their end.",
        f"Its {identity.objective}: {best.value:.4f}.",
        "Being the best of many on the same images, that is more than other images will give. The test part of the",
        "data was not looked at.",
        f"Data: {identity.data} (digest of the manifest). Precision: {identity.execution.precision}.",
    ]
    recipe = recipe_toml(with_parameters(identity.recipe, best.params))
    return "".join(f"# {comment}\n" for comment in comments) + recipe


def _rows(finished: Sequence[FrozenTrial], space: Iterable[str]) -> list[list[str]]:
    """Return the header, then a row for each trial."""
    rows = [["trial", "state", "val_accuracy", "epochs", "minutes", NOTE, *space]]
    for trial in finished:
        minutes = trial.duration.total_seconds() / 60 if trial.duration else 0.0
        value = "" if trial.value is None else repr(trial.value)
        facts = [str(trial.number), _STATES[trial.state], value, str(len(trial.intermediate_values)), f"{minutes:.2f}"]
        settings = [str(trial.params.get(name, "")) for name in space]
        rows.append([*facts, str(trial.user_attrs.get(NOTE, "")), *settings])
    return rows


def _short(cell: str) -> str:
    """Round what is a fraction to four digits."""
    try:
        return f"{float(cell):.4g}" if "." in cell or "e-" in cell else cell
    except ValueError:
        return cell


def _drop_folders(study: optuna.Study, folder: Path) -> None:
    """Delete the run folders of trials that are at an end, save the best's.

    A trial that another worker finishes meanwhile still runs in what was read here, and is kept.
    """
    trials = study.get_trials(deepcopy=False)
    completed = _completed(trials)
    best = _best(completed).number if completed else None
    for trial in trials:
        if trial.state.is_finished() and trial.number != best:
            shutil.rmtree(folder / str(trial.number), ignore_errors=True)


def _replace(path: Path, text: str) -> None:
    """Write a file that other workers, here or on other machines, may write at the same time."""
    with replacing(path, f"{platform.node()}-{os.getpid()}") as file:
        file.write(text.encode())
