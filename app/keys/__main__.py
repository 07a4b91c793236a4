"""Make an API key: ``python -m app.keys FILE NAME``.

Exit codes: 0 made, 1 the file cannot be written, 2 the name or the file's content is at fault.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.errors import SettingError
from app.keys.file import make_key, parse

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    file: Annotated[Path, typer.Argument(help="Keys file, made where there is none; CXR_API_KEYS_FILE names it.")],
    name: Annotated[str, typer.Argument(help="Whose key it is; seen in the file, the log and the metrics.")],
) -> None:
    """Make an API key: its SHA-256 is added to FILE, and the key itself is printed, once.

    A key is withdrawn by removing its line. A running service takes up either within a second.

    Example: python -m app.keys keys.txt radiology > radiology.key
    """
    try:
        key, line = make_key(name)
        with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+b") as stream:
            content = stream.read()
            if name in {known.name for known in parse(content)}:
                raise SettingError(f"it has a key of the name {name}. Give another name, or remove that line first")
            # In place and in one write: a file that a container has mounted is not replaced, nor read half.
            stream.write(b"\n" * (content[-1:] not in (b"", b"\n")) + f"{line}\n".encode())
    except SettingError as error:
        raise typer.Exit(_fail(2, f"{file}: {error}.")) from error
    except OSError as error:
        raise typer.Exit(_fail(1, f"{file} cannot be written: {error.strerror}.")) from error
    print(key)  # noqa: T201
    print(f"Added {name} to {file}. The key above is not kept: give it to its holder now.", file=sys.stderr)  # noqa: T201


def _fail(code: int, message: str) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    app()
