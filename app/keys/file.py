"""The lines of a keys file."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final

from app.errors import SettingError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE: Final = re.compile(rf"({_NAME.pattern})\s+([0-9a-f]{{64}})")
_RANDOM_BYTES: Final = 32
_PREFIX: Final = "cxr_"
"""By which a person, or a scanner for secrets, tells what was found."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the file has it.

    Attributes:
        name: Whose it is; for log and metrics.
        digest: SHA-256 of the key.
    """

    name: str
    digest: bytes

    def __str__(self) -> str:
        """Return the line of the file."""
        return f"{self.name} {self.digest.hex()}"


def digest_of(key: str) -> bytes:
    """Compute what the file holds of a key."""
    return hashlib.sha256(key.encode()).digest()


def make_key(name: str) -> tuple[str, Key]:
    """Make a new key of 256 random bits.

    Returns:
        The key, which is kept nowhere, and what the file holds of it.

    Raises:
        SettingError: The name cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"received {name!r} as a key's name, which has up to 64 letters, digits, '.', '_' or '-' of ASCII "
            "and begins with a letter or digit"
        )
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return key, Key(name, digest_of(key))


def parse(data: bytes) -> tuple[Key, ...]:
    """Read the keys of a file.

    Raises:
        SettingError: A line is malformed, or repeats a name or a key. It names the line's number and never its
            content, which may be a key that somebody put there by mistake.
    """
    keys = dict[str, Key]()
    for number, line in enumerate(data.decode(errors="replace").removeprefix("\ufeff").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if not match:
            raise SettingError(f"line {number} is not a name and a SHA-256 in 64 small hexadecimal digits")
        key = Key(match[1], bytes.fromhex(match[2]))
        if key.name in keys:
            raise SettingError(f"line {number} has the name of an earlier line")
        if any(key.digest == other.digest for other in keys.values()):
            raise SettingError(f"line {number} has the key of an earlier line")
        keys[key.name] = key
    return tuple(keys.values())
