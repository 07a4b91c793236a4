"""Which files to send: named ones, folders, patterns, and lists on standard input, one at a time as they are needed."""

import glob
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from app.client.intake.once import Once

_CHUNK_BYTES = 2**16


class Skip(Enum):
    """Why something that was found is not a file to send."""

    HIDDEN = "hidden: its name begins with a dot; name it to send it"
    OWN = "written by the intake itself"
    REPEATED = "named before"
    LINKED_FOLDER = "a link to a folder, which is not followed; name the folder to send what is in it"
    NOT_A_FILE = "not a regular file"

    @property
    def is_loud(self) -> bool:
        """Whether a person would expect it to be sent, and is told so."""
        return self in (Skip.LINKED_FOLDER, Skip.NOT_A_FILE)


@dataclass(frozen=True)
class Selected:
    """Something that was found.

    Attributes:
        given: Its path as the caller spelled it, or below a folder as the caller spelled that.
        skip: Why it is not to be sent, if it is not.
        problem: Why it cannot be, if it cannot (a folder that cannot be listed).
        state: Stands for path, size and time of change where a folder is watched.
    """

    given: str
    skip: Skip | None = None
    problem: str = ""
    state: bytes = b""

    @property
    def path(self) -> str:
        """The absolute path, links as they are: under it the answer is recorded."""
        # Path.resolve would follow links, and Path.absolute would leave ".." in it.
        return os.path.abspath(self.given)  # noqa: PTH100


class Own:
    """What the intake reads as a setting or writes itself, and never sends."""

    def __init__(self, files: Iterable[Path] = (), folders: Iterable[Path] = ()) -> None:
        """Resolve the paths, of which none needs to exist; a folder is meant with all it holds."""
        self._files = frozenset(os.path.realpath(path) for path in files)
        self._folders = tuple(os.path.realpath(path) for path in folders)

    def has(self, path: str) -> bool:
        """Tell whether a path is one of them, whatever links lead to it."""
        if not self._files and not self._folders:
            return False
        real = os.path.realpath(path)
        return real in self._files or any(
            real == folder or real.startswith(folder + os.sep) for folder in self._folders
        )


def select(names: Iterable[str], own: Own) -> Generator[Selected]:
    """Find the files behind names.

    Folders are searched to any depth, but not through links, so that no loop of these is endless. Nothing is sorted
    and no list is made: memory does not grow with the number of files.

    Args:
        names: Files and folders. What does not exist is selected as it is, so that reading it fails and is reported.
        own: What is never to be sent.

    Yields:
        Files, each once by its absolute path, and what is left out with its reason.
    """
    with closing(Once()) as once:
        for name in names:
            for found in _named(name, own):
                is_first = found.skip or once.is_first(found.path)
                yield found if is_first else Selected(found.given, Skip.REPEATED)


def expand(arguments: Iterable[str]) -> Iterator[str]:
    """Replace patterns by what matches them, for shells that do not.

    Args:
        arguments: Names, or patterns of ``*``, ``?``, ``[...]``, and ``**`` for folders to any depth. What exists by
            its name is a name, whatever letters are in it; so is a pattern that nothing matches.
    """
    for argument in arguments:
        # pathlib takes no absolute patterns.
        matches = iter(()) if os.path.lexists(argument) else glob.iglob(argument, recursive=True)  # noqa: PTH207
        first = next(matches, argument)
        yield first
        yield from matches


def listed(stream: BinaryIO, *, nul: bool = False) -> Iterator[str]:
    r"""Read names from a stream, such as standard input.

    Args:
        stream: One name a line; empty lines do not count.
        nul: Names are ended by ``\0`` and not by a line's end, as ``find -print0`` writes them.
    """
    if not nul:
        for line in stream:
            if name := line.rstrip(b"\r\n"):
                yield os.fsdecode(name)
        return
    rest = b""
    while chunk := stream.read(_CHUNK_BYTES):
        *names, rest = (rest + chunk).split(b"\0")
        yield from map(os.fsdecode, filter(None, names))
    if rest:
        yield os.fsdecode(rest)


def _named(name: str, own: Own) -> Iterator[Selected]:
    if own.has(name):
        yield Selected(name, Skip.OWN)
    elif Path(name).is_dir():
        yield from _in_folder(name, own)
    else:
        yield Selected(name)


def _in_folder(folder: str, own: Own) -> Iterator[Selected]:
    folders = [folder]
    while folders:
        current = folders.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    skip = _reason_to_skip(entry, own)
                    if not skip and _is_folder(entry):
                        folders.append(entry.path)
                    else:
                        yield Selected(entry.path, skip)
        except OSError as error:
            yield Selected(current, problem=f"The folder cannot be listed: {error.strerror}.")


def _reason_to_skip(entry: os.DirEntry[str], own: Own) -> Skip | None:
    if entry.name.startswith("."):
        return Skip.HIDDEN
    if own.has(entry.path):
        return Skip.OWN
    try:
        if entry.is_symlink() and entry.is_dir():
            return Skip.LINKED_FOLDER
        # A link to nothing is left to fail when it is read.
        is_other = not (entry.is_file() or entry.is_dir() or entry.is_symlink())
    except OSError:
        return None
    return Skip.NOT_A_FILE if is_other else None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
