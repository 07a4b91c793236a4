"""The keys that a running service accepts."""

import hmac
import logging
import os
import stat
import time
from pathlib import Path
from typing import Final

from app.errors import SettingError
from app.keys.file import Key, digest_of, parse

logger = logging.getLogger(__name__)

_HINT: Final = "Make one with 'python -m app.keys FILE NAME'."
_LOOK_SECONDS: Final = 1.0
"""How often the file is looked at, at most: a change counts at the first request after that."""

_Stamp = tuple[int, ...]


class KeyRing:
    """The keys of a file, read again once the file has changed.

    The path may be a link, as mounted secrets are: where it leads is looked at each time. A file that cannot be read
    or is malformed does not replace the keys that were read before. One without keys does: the last was withdrawn.
    """

    def __init__(self, path: Path) -> None:
        """Read the keys.

        Raises:
            SettingError: The file cannot be read, is malformed, or holds no key; names the line.
        """
        self._path = path
        self._looked = time.monotonic()
        self._stamp = _stamp(path)
        self._keys = self._read()
        if not self._keys:
            raise SettingError(f"CXR_API_KEYS_FILE {path} holds no key. {_HINT}")

    def name_of(self, key: str) -> str | None:
        """Return the name under which a key is in the file, or None.

        Takes equally long wherever the key is in the file, and whether it is: each digest is compared as a whole.
        """
        self._look()
        digest, name = digest_of(key), None
        for known in self._keys:
            if hmac.compare_digest(known.digest, digest):
                name = known.name
        return name

    def __len__(self) -> int:
        return len(self._keys)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked, stamp = now, _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except SettingError as error:
            logger.error("%s Until then the keys that were read before hold.", error)
            return
        if self._keys:
            logger.info("keys read", extra={"fields": {"keys": [key.name for key in self._keys]}})
        else:
            logger.error("CXR_API_KEYS_FILE %s holds no key any more: nobody is let in. %s", self._path, _HINT)

    def _read(self) -> tuple[Key, ...]:
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                keys = parse(file.read())
        except OSError as error:
            raise SettingError(f"CXR_API_KEYS_FILE {self._path} cannot be read ({error.strerror}). {_HINT}") from error
        except SettingError as error:
            raise SettingError(f"CXR_API_KEYS_FILE {self._path}: {error}. {_HINT}") from error
        # Who reads the file learns nothing to get in with; who writes it lets himself in.
        if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
            logger.warning(
                "CXR_API_KEYS_FILE %s can be written by others than its owner, who can so make keys.", self._path
            )
        return keys


def _stamp(path: Path) -> _Stamp:
    """Return what changes when the file does, be it written, replaced, or the link to it set anew."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
