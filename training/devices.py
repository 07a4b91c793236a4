"""Several devices, of one machine or of several, as Keras' data parallelism on JAX.

Each device holds all weights and computes an equal share of each batch. What is computed is what one device would
compute, batch normalisation over the whole batch included, up to the order in which numbers are added. Keras 3.15
distributes on its JAX backend alone: its source calls that of TensorFlow a prototype not to be used.

Several machines: one process on each, started by hand with the same command but for its number, joined by JAX's own
distributed runtime. They share the run folder. Process 0 writes it; all read it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import keras

from app.errors import TrainingError
from training.config import Execution


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of each batch this process feeds.

    Attributes:
        devices: Of all processes. Keras gives each an equal number of a batch's images, and fails if it cannot.
        processes: Each has as many devices as any other.
        process: Number of this one, from 0.
    """

    devices: int = 1
    processes: int = 1
    process: int = 0

    def of(self, rows: Any) -> Any:
        """Return this process' part of an array whose length is a multiple of the number of devices."""
        size = len(rows) // self.processes
        return rows[self.process * size : (self.process + 1) * size]

    def assert_divides(self, batch_size: int) -> None:
        """Check that the devices can share a batch equally.

        Raises:
            TrainingError: They cannot.
        """
        if batch_size % self.devices:
            raise TrainingError(
                f"{self.devices} devices cannot share a batch of {batch_size} images equally: give a --batch-size "
                f"that is a multiple of {self.devices}."
            )


WHOLE: Final = Share()
"""One device, which is fed everything."""


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Join the other processes of a run. Must come before anything is computed.

    Args:
        coordinator: Address of process 0 as HOST:PORT, a free port of that host; None: this process trains alone.
        processes: How many there are.
        process: Number of this one, from 0.

    Raises:
        TrainingError: The backend cannot, an option is missing, or the others cannot be reached.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return
    if missing:
        raise TrainingError(f"Several processes need {', '.join(given)}; missing: {', '.join(missing)}.")
    _assert_jax("Several processes")
    try:
        keras.distribution.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"Process {process} could not join the run at {coordinator}: {error}") from error


def count_devices(wanted: str) -> int:
    """Return the number of devices to train on, those of all processes together.

    Args:
        wanted: A number from 1, or "all".

    Raises:
        TrainingError: There are fewer, or the backend cannot use several.
    """
    if wanted != "all" and not (wanted.isdecimal() and int(wanted)):
        raise TrainingError(f"--devices takes a number from 1, or 'all'; received {wanted!r}.")
    if wanted == "1" and _processes() == 1:
        return 1
    _assert_jax("Several devices")
    there = keras.distribution.list_devices()
    number = len(there) if wanted == "all" else int(wanted)
    if number > len(there):
        raise TrainingError(f"{number} devices were asked for; there are {len(there)}: {', '.join(there)}.")
    if number < len(there) and _processes() > 1:
        raise TrainingError(f"Several processes train on all their devices, here {len(there)}: give --devices all.")
    return number


def share_of(execution: Execution) -> Share:
    """Return which part of each batch this process feeds."""
    if execution.devices == 1:
        return WHOLE
    return Share(execution.devices, _processes(), process_number())


def distributed(execution: Execution) -> AbstractContextManager[None]:
    """Return the context in which models are built and trained on the devices of an execution."""
    if execution.devices == 1:
        return nullcontext()
    devices = keras.distribution.list_devices()[: execution.devices]
    parallel: AbstractContextManager[None] = keras.distribution.DataParallel(
        devices=devices, auto_shard_dataset=False
    ).scope()
    return parallel


@contextmanager
def undistributed() -> Iterator[None]:
    """Let every device compute everything: what is not trained need not have batches that can be shared."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def is_first_process() -> bool:
    """Return whether this process writes the run folder."""
    return process_number() == 0


def process_number() -> int:
    """Return the number of this process, from 0."""
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return int(jax.process_index())


def wait_for_all(point: str) -> None:
    """Wait until every process has come to this point, named for the error that tells of one that has not."""
    if _processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(point)


@contextmanager
def first_process_first(point: str) -> Iterator[None]:
    """Let process 0 finish what the others then find done."""
    if not is_first_process():
        wait_for_all(point)
    yield
    if is_first_process():
        wait_for_all(point)


def _processes() -> int:
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return int(jax.process_count())


def _assert_jax(what: str) -> None:
    if keras.backend.backend() != "jax":
        raise TrainingError(
            f"{what} need the JAX backend, since Keras distributes on it alone; this is {keras.backend.backend()}. "
            "Install JAX and set KERAS_BACKEND=jax."
        )
