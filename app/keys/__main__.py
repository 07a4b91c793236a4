"""Make an API key: ``python -m app.keys FILE NAME``.

Exit codes: 0 made, 1 the file cannot be written, 2 wrong usage, or the name or the file's content is at fault.
"""

import argparse
import os
import sys
from pathlib import Path

from app.errors import SettingError
from app.keys.file import make_key, parse


def main() -> int:
    """Add a key to a file and print it, once.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m app.keys",
        description="Make an API key: its SHA-256 is added to FILE, and the key itself is printed, once. A key is "
        "withdrawn by removing its line. A running service takes up either within a second.",
        epilog="Example: python -m app.keys api-keys radiology > radiology.key",
    )
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="made where there is none; CXR_API_KEYS_FILE names it to the service"
    )
    parser.add_argument("name", metavar="NAME", help="whose key it is; seen in the file, the log and the metrics")
    arguments = parser.parse_args()
    try:
        key = _add(arguments.file, arguments.name)
    except SettingError as error:
        return _stop(2, f"{arguments.file}: {error}.")
    except OSError as error:
        return _stop(1, f"{arguments.file} cannot be written: {error.strerror}.")
    print(key)  # noqa: T201
    note = f"Added {arguments.name} to {arguments.file}. The key is kept nowhere: give it to its holder now."
    print(note, file=sys.stderr)  # noqa: T201
    return 0


def _add(file: Path, name: str) -> str:
    key, line = make_key(name)
    # In place and in one write: a file that a container has mounted is not replaced, nor read half.
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+b") as stream:
        content = stream.read()
        if name in {known.name for known in parse(content)}:
            raise SettingError(f"it has a key of the name {name}; give another name, or remove that line first")
        separator = b"" if content.endswith(b"\n") or not content else b"\n"
        stream.write(separator + f"{line}\n".encode())
    return key


def _stop(code: int, message: str) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
