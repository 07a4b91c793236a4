"""Files that are whole or not there."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from training.devices import is_first_process


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name, or another's place, only once it is whole and on disk.

    Of several processes that train together the first alone writes; what the others write is dropped.
    """
    if not is_first_process():
        yield io.BytesIO()
        return
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
