"""The example as its user runs it: a process beside the real service."""

import csv
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.client import CxrClient
from examples.intake import COLUMNS, move, states_of, take
from tests.app.gates import wait_until
from tests.app.server import ROOT, Server
from tests.images import encode, radiograph

IMAGE = encode(radiograph(), "PNG")
OTHER = encode(radiograph(seed=1), "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "answers.csv"


@pytest.fixture(autouse=True)
def heed_interrupts() -> Iterator[None]:
    """Tests that run in a shell's background ignore SIGINT, and so would what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def intake(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "examples/intake.py", *map(str, arguments), "--look-every", "0.05"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines(table: Path) -> dict[str, dict[str, str]]:
    """Of the table, by file."""
    if not table.exists():
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        return {line["file"]: line for line in csv.DictReader(file)}


def test_answers_go_to_the_table_and_images_to_their_folders(server: Server, folder: Path, table: Path) -> None:
    (folder / "good.png").write_bytes(IMAGE)
    (folder / "done").mkdir()
    (folder / "done" / "good.png").write_bytes(OTHER)
    (folder / ".hidden").write_bytes(IMAGE)
    with intake(folder, table, "--url", server.url) as process:
        wait_until(lambda: names(folder) == [".hidden", "done"])
        (folder / "note, with comma.txt").write_text("no image")
        wait_until(lambda: names(folder) == [".hidden", "done", "refused"])
    assert process.wait() == 0
    assert (folder / "done" / "good.png").read_bytes() == OTHER
    assert (folder / "done" / "good-2.png").read_bytes() == IMAGE
    assert names(folder / "refused") == ["note, with comma.txt"]
    expected = server.client.post("/predict", content=IMAGE).json()
    good, note = lines(table)["good.png"], lines(table)["note, with comma.txt"]
    assert tuple(good) == COLUMNS
    assert (good["label"], good["refused"]) == (expected["label"], "")
    assert float(good["covid_probability"]) == expected["probabilities"]["COVID-19"]
    assert float(good["threshold"]) == expected["threshold"]
    model = expected["model"]
    assert (good["model"], good["digest"]) == (f"{model['name']} {model['version']}", model["digest"])
    assert note["label"] == ""
    assert note["refused"].startswith("unsupported_format (415): ")
    assert stat.S_IMODE(table.stat().st_mode) == 0o600


def test_unreachable_leaves_files_where_they_are_and_tries_later(server: Server, folder: Path, table: Path) -> None:
    (folder / "image.png").write_bytes(IMAGE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # at which nobody listens from here on
    with CxrClient(f"http://127.0.0.1:{port}") as client:
        assert take(client, [folder / "image.png"], table) > 0
    assert names(folder) == ["image.png"]
    assert not table.exists()
    with CxrClient(server.url) as client:
        assert take(client, [folder / "image.png"], table) == 0
    assert names(folder / "done") == list(lines(table)) == ["image.png"]


def test_another_server_s_refusal_is_not_the_image_s(server: Server, folder: Path, table: Path) -> None:
    (folder / "image.png").write_bytes(IMAGE)
    with CxrClient(f"{server.url}/elsewhere") as client:
        assert take(client, [folder / "image.png", folder / "vanished.png"], table) == 0
    assert names(folder) == ["image.png"]
    assert not table.exists()


def test_a_file_that_grows_is_seen_to_change(folder: Path) -> None:
    path = folder / "image.png"
    path.write_bytes(IMAGE[:100])
    first = states_of(folder)
    with path.open("ab") as file:
        file.write(IMAGE[100:])
    assert states_of(folder)[path] != first[path]
    assert states_of(folder) == states_of(folder)


def test_moving_overwrites_nothing(folder: Path) -> None:
    for content in ("a", "b", "c"):
        (folder / "image.png").write_text(content)
        move(folder / "image.png", "done")
    assert names(folder / "done") == ["image-2.png", "image-3.png", "image.png"]
    assert {path.read_text() for path in (folder / "done").iterdir()} == {"a", "b", "c"}
    assert names(folder) == ["done"]


def test_what_cannot_be_folder_and_table_is_told(folder: Path) -> None:
    for place, words in ((folder, "put it elsewhere"), (folder / "mistyped", "not a folder")):
        with intake(place, folder / "answers.csv") as process:
            assert process.wait() == 2
            assert process.stderr
            assert words in process.stderr.read()
