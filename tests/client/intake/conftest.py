import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from typer.testing import CliRunner

from app.client.intake.cli import app
from tests.app.server import ROOT
from tests.client.intake.stub import Stub, serving


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str


Intake: TypeAlias = Callable[..., Ended]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With three files, which a stub takes for images."""
    folder = tmp_path / "exports"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "b.png", "deep/c.png"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def intake(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Intake:
    """Run the command in this process, on a ledger of the test's own."""
    monkeypatch.delenv("CXR_URL", raising=False)
    monkeypatch.delenv("CXR_API_KEY", raising=False)

    def run(*arguments: object, given: bytes = b"") -> Ended:
        words = ["--ledger", str(ledger), *map(str, arguments)]
        result = CliRunner().invoke(app, words, input=given, catch_exceptions=False)
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server that answers every image, until a test has it answer otherwise."""
    with serving(Stub()) as stub:
        yield stub


def start(ledger: Path, *arguments: object, prelude: str = "", **popen: Any) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    code = f"{prelude}\nfrom app.client.intake.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return subprocess.Popen(
        [sys.executable, "-c", code, "--ledger", str(ledger), *map(str, arguments)],
        **{"cwd": ROOT, "env": environment, "stdout": -1, "stderr": -1, "text": True, **popen},
    )


def rows(path: Path) -> list[dict[str, Any]]:
    """Read an export of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
