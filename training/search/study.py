"""The study of a search: an Optuna study in a database that several workers share.

A worker sends heartbeats while it runs a trial. A trial whose heartbeats ended (its process was killed, its machine
is gone) is recorded as failed, and tried once more; one that kills its process twice is not tried again.
"""

import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import optuna
import sqlalchemy.event
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.engine import Connection, make_url

from app.errors import TrainingError
from training.claim import differences
from training.config import Execution, FitConfig
from training.progress import many_networks

HEARTBEAT_S: Final = 30
GRACE_S: Final = 150
"""Without a heartbeat until a trial counts as cut off: five missed, for a machine that is slow or out of reach."""

POLL_S: Final = 2
"""Between looks at trials that other workers run."""

LOCK_TIMEOUT_S: Final = 60
"""Until a worker gives up on an SQLite file that others write to; a write takes milliseconds."""

_PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Between attempts at opening: of workers that start at once one makes tables and study, others see half of it."""

_IDENTITY: Final = "identity"
"""Attribute of a study: what it is of."""

STARTUP_TRIALS: Final = 5
"""Finished before any is pruned: a median of fewer says little."""

FINISHED: Final = (TrialState.COMPLETE, TrialState.PRUNED)

logger = logging.getLogger(__name__)

_DATABASE_ERRORS: Final = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)


class SearchIdentity(BaseModel):
    """What a search is of, the same for all its workers: what trials were measured on and what they may change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    objective: str
    recipe: FitConfig
    execution: Execution
    space: dict[str, str]

    def check(self, what: str, theirs: str) -> None:
        """Check that a study, or a folder, is of the same search.

        Args:
            what: The study or folder, for the message.
            theirs: What it is of, JSON.

        Raises:
            TrainingError: It is of another; says in what.
        """
        try:
            search = type(self).model_validate_json(theirs)
        except ValidationError as error:
            raise TrainingError(
                f"{what} is not of a search that this version can go on with. Give another --out and --study."
            ) from error
        if differing := differences(search, self):
            raise TrainingError(
                f"{what} is of another search: {differing}. "
                "Give another --out and --study, or the recipe, data and options of that search to go on with it."
            )


def open_study(url: str, name: str, ours: SearchIdentity, first: Mapping[str, Any], warmup_steps: int) -> optuna.Study:
    """Open a study, or make it.

    Args:
        url: Of the database, as SQLAlchemy takes it.
        name: Of the study in it.
        ours: What the study is of.
        first: Settings of the first trial.
        warmup_steps: Epochs in which no trial is pruned.

    Raises:
        TrainingError: The database cannot be used, or the study is of something else.
    """
    # The median needs no brackets of equal budgets, which 30 trials could not fill.
    pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, warmup_steps)
    with database_errors(url):
        storage = _open_storage(url)
        try:
            study = optuna.create_study(storage=storage, study_name=name, pruner=pruner, direction="maximize")
            study.set_user_attr(_IDENTITY, ours.model_dump_json())
            study.enqueue_trial(dict(first))
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(storage=storage, study_name=name, pruner=pruner)
        ours.check(f"The study {name!r}", _read_identity(study))
    return study


def run_until(study: optuna.Study, trials: int, objective: Callable[[optuna.Trial], float]) -> Iterator[None]:
    """Run trials until so many of the whole study are finished (completed or pruned), whoever runs them.

    A worker that finds the last ones taken waits for them, and takes over those that are cut off. Two workers that
    take the last one in the same moment finish one too many.

    Yields:
        After each trial of this worker.
    """
    waiting = False
    while True:
        optuna.storages.fail_stale_trials(study)
        states = Counter(trial.state for trial in study.get_trials(deepcopy=False))
        finished, running = sum(states[state] for state in FINISHED), states[TrialState.RUNNING]
        if finished >= trials:
            return
        if finished + running < trials:
            waiting = False
            _run_one(study, objective)
            yield
            continue
        if not waiting:
            logger.info("%d of %d trials are finished; waiting for %d that others run.", finished, trials, running)
        waiting = True
        time.sleep(POLL_S)


def _run_one(study: optuna.Study, objective: Callable[[optuna.Trial], float]) -> None:
    try:
        study.optimize(objective, n_trials=1, gc_after_trial=True)
    except ValueError as error:
        if "Cannot tell a FAIL trial" not in str(error):
            raise
        logger.warning("The trial was given up by another worker: this one was not heard of for %d s.", GRACE_S)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return what was completed or pruned, by number."""
    return study.get_trials(deepcopy=False, states=FINISHED)


@contextmanager
def one_line_a_trial() -> Iterator[None]:
    """Let Optuna write a line for each trial to standard error, and keep back that its heartbeats are experimental."""
    handler = logging.StreamHandler()
    handler.addFilter(_without_traceback)
    library = logging.getLogger("optuna")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # Of the tables' version, at every start.
    optuna.logging.disable_default_handler()
    library.addHandler(handler)
    try:
        with warnings.catch_warnings(), many_networks():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        library.removeHandler(handler)
        optuna.logging.enable_default_handler()


def _without_traceback(record: logging.LogRecord) -> bool:
    """Keep a failed trial to its line: what is a fault of ours is raised, and shows its traceback there."""
    record.exc_info = record.exc_text = None
    return True


@contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Report what goes wrong with the database as a message for people, which never holds its password.

    Raises:
        TrainingError: The database cannot be used.
    """
    try:
        yield
    except _DATABASE_ERRORS as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        reason = str(cause).partition("\n")[0].rstrip(".")
        raise TrainingError(
            f"The study's database {_shown(url)} cannot be used: {reason}. Accepted is an SQLAlchemy URL: "
            "sqlite:///FILE on one machine, postgresql:// or mysql:// for several, with its driver installed "
            "and the database running and made."
        ) from error


def _read_identity(study: optuna.Study) -> str:
    for pause in _PAUSES_S:
        if identity := study.user_attrs.get(_IDENTITY):
            return str(identity)
        time.sleep(pause)
    raise TrainingError(
        f"The study {study.study_name!r} was not made by this command, or its making was cut off. Give another --study."
    )


def _open_storage(url: str) -> optuna.storages.RDBStorage:
    for pause in _PAUSES_S:
        try:
            return _connect(url)
        except (
            sqlalchemy.exc.IntegrityError,
            sqlalchemy.exc.OperationalError,
            sqlalchemy.exc.ProgrammingError,
        ) as error:
            if not (isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error)):
                raise
            time.sleep(pause)
    return _connect(url)


def _connect(url: str) -> optuna.storages.RDBStorage:
    sqlite = make_url(url).get_backend_name() == "sqlite"
    try:
        storage = optuna.storages.RDBStorage(
            url,
            {"connect_args": {"timeout": LOCK_TIMEOUT_S, "isolation_level": None}} if sqlite else {},
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE_S,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=1),
        )
    except ImportError as error:
        raise TrainingError(
            f"The driver of {_shown(url)} is not installed: {error.__cause__ or error}. Install it beside this "
            "software with pip; for postgresql:// it is psycopg[binary]."
        ) from error
    if sqlite:
        sqlalchemy.event.listen(storage.engine, "begin", _lock)
    return storage


def _lock(connection: Connection) -> None:
    """Let a transaction keep others out from its first read on.

    Optuna reads that a trial waits, and then takes it. It asks for a lock on what it reads (``FOR UPDATE``), which
    SQLite does not know; by itself that locks with the first write, when another worker may have read the same.
    Source: https://docs.sqlalchemy.org/en/21/dialects/sqlite.html, on transactions begun by SQLAlchemy.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "--storage"
