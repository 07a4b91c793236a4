"""A file's content as it is sent, and what identifies it."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path


class Unreadable(Exception):
    """A file whose content cannot be had; another run may be able to.

    Attributes:
        code: Stable snake_case identifier: ``not_found``, ``unreadable``, ``not_a_file``,
            ``too_large_to_send`` or ``changed``.
    """

    def __init__(self, code: str, detail: str) -> None:
        """Set the code, and the text for people."""
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True)
class Content:
    """What a file held when it was read.

    Attributes:
        data: The bytes that are hashed, sent and, if refused, quarantined: the same, whatever happens to the file.
        sha256: Hexadecimal.
        modified_ns: The file's time of change in ns since 1970.
    """

    data: bytes
    sha256: str
    modified_ns: int

    def is_still_at(self, path: str) -> bool:
        """Tell whether the file has neither gone nor changed since it was read, by size and time of change."""
        try:
            status = Path(path).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (len(self.data), self.modified_ns)


def read(path: str, max_bytes: int) -> Content:
    """Read a file.

    Args:
        path: Of a regular file, or of a link to one.
        max_bytes: Most it may hold; a larger file is not read, so that no film in a folder fills the memory.

    Raises:
        Unreadable: It is not there, not allowed, no regular file, too large, being written, or its disk fails.
    """
    try:
        # Before it is opened: to open a named pipe waits for its other end.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise Unreadable("not_a_file", "It is not a regular file.")
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > max_bytes:
                raise Unreadable(
                    "too_large_to_send",
                    f"It has {status.st_size} bytes and was not sent: more than --max-file-bytes, {max_bytes}.",
                )
            data = file.read(status.st_size + 1)
    except FileNotFoundError as error:
        raise Unreadable("not_found", "It is not there, or no longer.") from error
    except OSError as error:
        raise Unreadable("unreadable", f"It cannot be read: {error.strerror}.") from error
    if len(data) != status.st_size:
        raise Unreadable("changed", "It changed while it was read.")
    return Content(data, hashlib.sha256(data).hexdigest(), status.st_mtime_ns)
