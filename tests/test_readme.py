"""The README's commands do what it says, as far as they can run here."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import typer
from typer.testing import CliRunner

from app.artifact import Artifact
from app.client.intake.cli import app as intake_app
from app.keys import KeyRing
from tests.app.gates import wait_until
from tests.app.server import ROOT, Server
from tests.images import dicom, encode, radiograph
from training.__main__ import app as training_app
from training.card_results import interval_text

README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
INTAKE: Final = ".venv/client/bin/cxr-intake"
ADDRESS: Final = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS: Final = [line for block in blocks("sh") for line in block.splitlines() if line]


def commands(word: str) -> list[str]:
    return [command for command in COMMANDS if word in shlex.split(command)]


def test_the_shipped_models_figures_are_those_that_its_artifact_records(shipped: Artifact) -> None:
    table = README.split("\n## What it reaches\n")[1].split("\n## ")[0]
    given = dict(re.findall(r"^\| ([a-zA-Z ]+) \| (\d\.\d{3} \([^|]*\)) \|", table, re.MULTILINE))
    measured = shipped.metadata.metrics["test"]["metrics"]
    for name in ("accuracy", "ROC AUC", "sensitivity", "specificity", "expected calibration error"):
        assert given[name] == interval_text(measured[name.lower().replace(" ", "_")])
    assert f'"threshold": {shipped.metadata.threshold:.3f}' in README
    assert shipped.digest[:12] in README


def test_every_command_is_of_a_kind_that_is_tried_here_or_known_to_need_docker() -> None:
    kinds = (
        "mkdir",
        "export",
        "openssl",
        ".venv/client",
        ".venv/client/bin/pip",
        ".venv/client/bin/cxr-intake",
        "examples/intake.py",
        "curl",
        "make",
        "app.keys",
        "training",
        "docker",
        ".venv/train/bin/pip",
        ".venv/bench",
        ".venv/bench/bin/pip",
    )
    kinds += tuple(f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py"))
    assert [c for c in COMMANDS if not any(kind in shlex.split(c) for kind in kinds)] == []


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the images that the examples name."""
    (tmp_path / "chest-xray.png").write_bytes(encode(radiograph(), "PNG"))
    (tmp_path / "chest-xray.dcm").write_bytes(dicom(radiograph().astype("uint16") * 16, bits_stored=12))
    return tmp_path


@pytest.mark.parametrize("command", commands("curl"))
def test_curl_gets_an_answer(command: str, server: Server, images: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    arguments = shlex.split(command.replace(ADDRESS, server.url))
    answer = subprocess.run([*arguments, "-sS", "--fail"], cwd=images, capture_output=True, check=True)
    assert answer.stdout or (images / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def test_keys_command_makes_the_file_that_the_service_is_given(tmp_path: Path) -> None:
    (command,) = (command for command in commands("app.keys") if not command.startswith("docker"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = command.replace(".venv/serve/bin/python", shlex.quote(sys.executable))
    subprocess.run(command, shell=True, cwd=tmp_path, env=environment, check=True)
    (serve,) = (line for line in COMMANDS if "CXR_API_KEYS_FILE" in line)
    file = re.search(r"CXR_API_KEYS_FILE=(\S+)", serve)
    assert file
    keys = KeyRing(tmp_path / file[1])
    (key,) = (path.read_text().strip() for path in tmp_path.glob("*.key"))
    assert keys.name_of(key) == "radiology"


@pytest.mark.parametrize("code", blocks("python"))
def test_python_does_what_it_says(
    code: str, server: Server, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(images)
    exec(compile(code.replace(ADDRESS, server.url), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "COVID" in printed
    assert "unsupported_format" in printed or "Refused" not in code
    assert (images / "heatmap.png").exists() == ("heatmap" in code)


@pytest.mark.parametrize("command", blocks("powershell"))
def test_powershell_gets_an_answer(command: str, server: Server, images: Path) -> None:
    if not shutil.which("pwsh"):
        pytest.skip("PowerShell is not installed")
    command = f"{command.replace(ADDRESS, server.url).strip()} | ConvertTo-Json"
    answer = subprocess.run(["pwsh", "-NoProfile", "-Command", command], cwd=images, capture_output=True, check=True)
    assert b"probabilities" in answer.stdout


def test_the_intake_example_fills_its_table(server: Server, images: Path) -> None:
    [command], make_folders = commands("examples/intake.py"), commands("mkdir")
    [make_folder] = (make for make in make_folders if make.endswith("incoming"))
    subprocess.run(shlex.split(make_folder), cwd=images, check=True)
    shutil.copy(images / "chest-xray.png", images / "incoming")
    _, script, *arguments = shlex.split(command.replace(ADDRESS, server.url))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, ROOT / script, *arguments], cwd=images, env=environment) as process:
        try:
            wait_until((images / "incoming" / "done" / "chest-xray.png").exists)
        finally:
            process.terminate()
    assert "chest-xray.png" in (images / "answers.csv").read_text()


@pytest.mark.parametrize("command", commands(INTAKE))
def test_cxr_intake_accepts_the_options_and_answers(
    command: str, server: Server, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command)
    arguments = words[words.index(INTAKE) + 1 :]
    typer.main.get_command(intake_app).make_context("cxr-intake", list(arguments))
    if "--watch" in arguments or "-" in arguments:
        return
    (images / "radiology.key").write_text("cxr_any\n")
    (images / "exports").mkdir()
    for image in images.glob("chest-xray.*"):
        image.rename(images / "exports" / image.name)
    monkeypatch.chdir(images)
    monkeypatch.setenv("CXR_URL", server.url)
    result = CliRunner().invoke(intake_app, [*arguments, "--ledger", "ledger.sqlite"])
    assert result.exit_code == 0, result.stderr
    if "--export" in arguments:
        assert "chest-xray.dcm" in Path(arguments[arguments.index("--export") + 1]).read_text()


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
