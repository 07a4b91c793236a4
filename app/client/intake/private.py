"""Files that the intake makes: readable by their owner alone, whole or not there."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from app.client.intake.once import digest_of

_OTHERS_BITS: Final = 0o077
_LONGEST_STEM: Final = 80


def make_private_folder(path: Path) -> None:
    """Make a folder that its owner alone can enter, if there is none.

    Raises:
        OSError: It cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file that its owner alone can read, or make an existing one so.

    Raises:
        OSError: It cannot be made, or others would still be able to read it.
    """
    make_private_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if os.name == "posix":
        path.chmod(0o600)
        if path.stat().st_mode & _OTHERS_BITS:
            raise OSError(0, "its file system lets others read it, and paths can name patients")


def write_private_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that its owner alone can read, in place of what was there once it is whole and on the disk.

    Raises:
        OSError: It cannot be written; what was there stays.
    """
    make_private_folder(path.parent)
    descriptor, partial = tempfile.mkstemp(prefix=".", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)  # Gone if a signal came once it was in place.
        raise


def name_for(path: str, *identity: str) -> str:
    """Name a file that is made for another one: alike for people, and different for different files.

    Args:
        path: Of the other.
        *identity: What the name must differ by, beside the path.

    Returns:
        Stem of the other's name, and 16 hexadecimal digits; no suffix.
    """
    return f"{Path(path).stem[:_LONGEST_STEM]}-{digest_of(path, *identity).hex()[:16]}"
