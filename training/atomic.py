"""Files that are whole or not there."""

import errno
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.errors import TrainingError
from training.devices import is_first_process


@contextmanager
def replacing(path: Path, writer: str = "") -> Iterator[IO[bytes]]:
    """Open a file that takes its name, or another's place, only once it is whole and on disk.

    Of several processes that train together the first alone writes; what the others write is dropped.

    Args:
        path: The file.
        writer: Who writes, where several may at once; what one of them leaves when it is cut off then stays.

    Raises:
        TrainingError: It could not be written: the disk is full, say.
    """
    if not is_first_process():
        yield io.BytesIO()
        return
    partial = path.with_name(f"{path.name}{writer and '.'}{writer}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise _not_written(path, error) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say in words that a file of ours does not hold what was written there.

    Raises:
        TrainingError: What is done within stumbles over the content.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"{path} is damaged ({reason}). Bring it back from a copy, or delete its folder and start again."
        ) from error


def assert_room(path: Path, size_bytes: int) -> None:
    """Check that a file of a size can be written, for libraries that end badly where it cannot.

    Raises:
        TrainingError: It cannot: the disk is full, say.
    """
    try:
        if shutil.disk_usage(path.parent).free < size_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with tempfile.TemporaryFile(dir=path.parent) as file:  # A quota or a limit may leave less than is free.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            else:
                file.truncate(size_bytes)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"{path} could not be written: {error.strerror or error}. Make room, or give the folder to this user, and run "
        "the same command again: it goes on from what is finished."
    )
