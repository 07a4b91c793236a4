"""The README's commands do what it says, as far as they can run here."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import typer

from tests.app.server import ROOT, Server
from tests.images import dicom, encode, radiograph
from training.__main__ import app as training_app

README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS: Final = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line
]


def commands(word: str) -> list[str]:
    return [command for command in COMMANDS if word in shlex.split(command)]


def test_every_command_is_of_a_kind_that_is_tried_here_or_known_to_need_docker() -> None:
    kinds = ("curl", "make", "training", "docker", ".venv/train/bin/pip", ".venv/bench", ".venv/bench/bin/pip")
    kinds += tuple(f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py"))
    assert [c for c in COMMANDS if not any(kind in shlex.split(c) for kind in kinds)] == []


@pytest.mark.parametrize("command", commands("curl"))
def test_curl_gets_an_answer(command: str, server: Server, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (tmp_path / "chest-xray.png").write_bytes(encode(radiograph(), "PNG"))
    (tmp_path / "chest-xray.dcm").write_bytes(dicom(radiograph().astype("uint16") * 16, bits_stored=12))
    arguments = shlex.split(command.replace("http://127.0.0.1:8000", server.url))
    answer = subprocess.run([*arguments, "-sS", "--fail"], cwd=tmp_path, capture_output=True, check=True)
    assert answer.stdout or (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", commands("make"))
def test_make_knows_the_target(command: str) -> None:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    arguments = [word for word in shlex.split(command) if not word.startswith("CXR_")]
    subprocess.run([*arguments, "--dry-run"], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("command", commands("training"))
def test_training_accepts_the_options(command: str) -> None:
    words = shlex.split(command)
    name, *arguments = words[words.index("training") + 1 :]
    group = typer.main.get_command(training_app)
    group.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "benchmarks/" in c and "--" in c])
def test_a_benchmark_has_the_options(command: str) -> None:
    words = shlex.split(command)
    script = next(word for word in words if word.startswith("benchmarks/"))
    help_text = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [word for word in words if word.startswith("--") and f"{word} " not in help_text.stdout] == []


def test_the_example_answer_is_of_the_interface_s_form(server: Server) -> None:
    example = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert example
    answer = server.client.post("/predict", content=encode(radiograph(), "PNG")).json()
    assert re.findall(r'^  "(\w+)":', example[1], re.MULTILINE) == list(answer)
