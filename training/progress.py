"""Progress of training on standard error: a bar an epoch, with the time left and the current metrics."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def many_networks() -> Iterator[None]:
    """Keep back TensorFlow's warning that networks are built again and again, where that is the purpose."""
    tensorflow = logging.getLogger("tensorflow")
    tensorflow.addFilter(_is_not_of_retracing)
    try:
        yield
    finally:
        tensorflow.removeFilter(_is_not_of_retracing)


def _is_not_of_retracing(record: logging.LogRecord) -> bool:
    return "tf.function retracing" not in record.getMessage()


class EpochProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Show a bar of the epoch's batches; leave a line with the metrics of each finished epoch.

    A context manager, so that the terminal gets its cursor back when training is cut off.
    """

    def __init__(self, title: str, epochs: int) -> None:
        """Name what is trained, and for how many epochs at most."""
        super().__init__()
        self._title, self._epochs = title, epochs
        self._console = Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the epoch's bar."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[metrics]}"), console=self._console, transient=True)
        self._bar.start()
        description = f"{self._title}, epoch {epoch + 1} of {self._epochs}"
        self._task = self._bar.add_task(description, total=self.params["steps"], metrics="")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.update(self._task, completed=batch + 1, metrics=_as_text(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Replace the bar with a line."""
        self._stop()
        self._console.print(f"{self._title}, epoch {epoch + 1} of {self._epochs}: {_as_text(logs)}", highlight=False)

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def _as_text(logs: dict[str, float] | None) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())
