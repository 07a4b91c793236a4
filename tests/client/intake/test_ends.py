"""Runs that are killed, stopped, or meet another one."""

import random
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from app.client.intake.ledger import Ledger, owner_file
from tests.client.intake.conftest import Intake, rows, start
from tests.client.intake.stub import Answer, Stub, prediction, problem

_WAIT_SECONDS = 30


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.png").write_bytes(b"%d" % number)
    return folder


def wait_until_posted(stub: Stub, count: int) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while len(stub.posts) < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_killed_run_goes_on_where_it_was(
    stub: Stub, intake: Intake, many: Path, ledger: Path, tmp_path: Path
) -> None:
    moments = random.Random()
    concurrency = 4
    for number in range(40, 100):
        (many / f"{number:02}.png").write_bytes(b"%d" % number)

    def answer(path: str, body: bytes, before: int) -> Answer:
        time.sleep(0.01)
        return prediction()

    stub.answer = answer
    for _ in range(3):
        with start(ledger, "--url", stub.url, many, "--concurrency", concurrency) as process:
            wait_until_posted(stub, len(stub.posts) + moments.randint(concurrency + 1, 12))  # one is recorded
            time.sleep(moments.uniform(0, 0.03))
            process.kill()
    out = tmp_path / "out.jsonl"
    ended = intake("--url", stub.url, many, "--export", out)
    assert ended.code == 0
    assert ended.out.startswith("100 files: 100 answered")
    assert "answered (0 before)" not in ended.out
    assert sorted(row["path"] for row in rows(out)) == sorted(map(str, many.iterdir()))
    everything = tmp_path / "all.jsonl"
    intake("--export", everything)
    assert len(rows(everything)) == 100
    # Sent again is at most what was in flight when it was killed.
    assert 100 <= len(stub.posts) <= 100 + 3 * concurrency


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_records_what_is_in_flight(
    stub: Stub, intake: Intake, many: Path, ledger: Path, number: signal.Signals
) -> None:
    go_on = threading.Event()

    def answer(path: str, body: bytes, before: int) -> Answer:
        go_on.wait(_WAIT_SECONDS)
        return prediction()

    stub.answer = answer
    with start(ledger, "--url", stub.url, many, "--concurrency", 4) as process:
        wait_until_posted(stub, 4)
        process.send_signal(number)
        assert process.stderr
        assert "Stopping" in process.stderr.readline()
        go_on.set()
        out, err = process.communicate(timeout=_WAIT_SECONDS)
    assert process.returncode == 1
    assert out.startswith("4 files: 4 answered")
    assert "Start the same command again" in err
    assert len(stub.posts) == 4
    assert intake("--url", stub.url, many).out.startswith("40 files: 40 answered (4 before)")


def test_a_second_signal_ends_it_at_once(stub: Stub, many: Path, ledger: Path) -> None:
    go_on = threading.Event()
    stub.answer = lambda *_: prediction() if go_on.wait(_WAIT_SECONDS) else problem(500, "late")
    with start(ledger, "--url", stub.url, many) as process:
        wait_until_posted(stub, 1)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert "Stopping" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(_WAIT_SECONDS) == 1
        go_on.set()


def test_a_stop_does_not_wait_for_retries(stub: Stub, many: Path, ledger: Path) -> None:
    stub.answer = lambda *_: problem(503, "overloaded", Retry_After="100")
    with start(ledger, "--url", stub.url, many, "--concurrency", 2) as process:
        wait_until_posted(stub, 2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=_WAIT_SECONDS)
    assert process.returncode == 1
    assert out.startswith("0 files")
    assert "files that were found" in err


def test_a_second_intake_on_a_ledger_says_so(stub: Stub, intake: Intake, many: Path, ledger: Path) -> None:
    go_on = threading.Event()
    stub.answer = lambda *_: prediction() if go_on.wait(_WAIT_SECONDS) else problem(500, "late")
    with start(ledger, "--url", stub.url, many) as process:
        wait_until_posted(stub, 1)
        ended = intake("--url", stub.url, many)
        assert (ended.code, ended.out) == (2, "")
        assert f"process {process.pid} on {socket.gethostname()}" in ended.err
        assert intake("--dry-run", many).code == 2
        go_on.set()
        assert process.wait(_WAIT_SECONDS) == 0
    assert intake("--url", stub.url, many).code == 0
    assert not owner_file(ledger).exists()


def test_a_watched_folder_is_sent_as_files_settle(stub: Stub, many: Path, ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ("--url", stub.url, "--watch", many, "--settle-seconds", "0.1", "--export", out)
    with start(ledger, *arguments) as process:
        wait_until_posted(stub, 40)
        (many / "later.png").write_bytes(b"later")
        wait_until_posted(stub, 41)
        deadline = time.monotonic() + _WAIT_SECONDS
        while not out.exists() or len(rows(out)) < 41:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        summary, err = process.communicate(timeout=_WAIT_SECONDS)
    assert process.returncode == 0, err
    assert summary.startswith("41 files: 41 answered")
    assert len(stub.posts) == 41


def test_a_ledger_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.sqlite"
    with Ledger(path):
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    path.chmod(0o644)
    with Ledger(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_ledger_is_left_alone(intake: Intake, stub: Stub, many: Path, ledger: Path) -> None:
    ledger.parent.mkdir()
    ledger.write_text("something else, and long enough to be read as a header of a database, which it is not. " * 9)
    before = ledger.read_text()
    ended = intake("--url", stub.url, many)
    assert ended.code == 1
    assert "cannot be used" in ended.err
    assert ledger.read_text() == before
