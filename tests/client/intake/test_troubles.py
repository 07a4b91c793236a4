"""A service that falters, files that cannot be read, disks that are full."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from app.client.intake import ledger as ledger_module
from app.client.intake import read as read_module
from tests.client.intake.conftest import Intake, rows, start
from tests.client.intake.stub import Answer, Stub, prediction, problem, serving


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.client.intake.retry._FIRST_DELAY_SECONDS", 0.001)


@pytest.mark.parametrize("status", [429, 502, 503, 504, 0])
def test_a_service_that_is_busy_or_cuts_off_is_asked_again(
    intake: Intake, stub: Stub, folder: Path, status: int
) -> None:
    def answer(path: str, body: bytes, before: int) -> Answer:
        refusal = problem(status, "overloaded", Retry_After="0") if status else (0, {}, b"")
        return refusal if before < 2 else prediction()

    stub.answer = answer
    assert intake("--url", stub.url, folder).code == 0
    assert len(stub.posts) == 9


@pytest.mark.parametrize(("status", "outcome"), [(400, "refused"), (413, "refused"), (500, "failed"), (418, "failed")])
def test_other_answers_are_not_asked_for_again(
    intake: Intake, stub: Stub, folder: Path, tmp_path: Path, status: int, outcome: str
) -> None:
    stub.answer = lambda *_: problem(status, "inference_failed")
    out = tmp_path / "out.jsonl"
    assert intake("--url", stub.url, folder, "--export", out).code == 1
    assert len(stub.posts) == 3
    assert {row["outcome"] for row in rows(out)} == {outcome}
    # What failed is tried again by the next run, what was refused is not.
    intake("--url", stub.url, folder)
    assert len(stub.posts) == (3 if outcome == "refused" else 6)


def test_an_answer_that_is_none_is_a_failure(intake: Intake, stub: Stub, folder: Path) -> None:
    stub.answer = lambda *_: (200, {}, b"<html>All is well</html>")
    ended = intake("--url", stub.url, folder / "a.png")
    assert ended.code == 1
    assert "unexpected_answer" in ended.err
    assert "0 answered" in ended.out


def test_retries_end_a_file_and_the_others_go_on(intake: Intake, stub: Stub, folder: Path) -> None:
    stub.answer = lambda path, body, before: problem(503, "busy") if body == b"a.png" else prediction()
    ended = intake("--url", stub.url, folder, "--retries", 3)
    assert ended.code == 1
    assert "2 answered (0 before), 0 refused (0 before), 1 failed" in ended.out
    assert len(stub.posts) == 4 + 2
    stub.answer = lambda *_: prediction()
    assert intake("--url", stub.url, folder).code == 0


def test_a_service_that_goes_away_ends_the_run_and_leaves_the_rest(
    intake: Intake, stub: Stub, folder: Path, tmp_path: Path
) -> None:
    def answer(path: str, body: bytes, before: int) -> Answer:
        if len(stub.posts) == 1:
            return prediction()
        stub.ready = False
        return problem(502, "gone")

    stub.answer = answer
    for number in range(50):
        (folder / f"{number}.png").write_bytes(b"%d" % number)
    out = tmp_path / "out.jsonl"
    ended = intake("--url", stub.url, folder, "--retries", 2, "--concurrency", 1, "--export", out)
    assert ended.code == 3
    assert "answered no image" in ended.err
    assert [row["outcome"] for row in rows(out)] == ["answered"]
    assert len(stub.posts) == 1 + 3


def test_a_retry_after_beyond_the_time_of_a_file_is_not_waited_for(intake: Intake, stub: Stub, folder: Path) -> None:
    stub.answer = lambda *_: problem(503, "overloaded", Retry_After="3600")
    assert intake("--url", stub.url, folder / "a.png").code == 1
    assert len(stub.posts) == 1


def test_a_withdrawn_key_stops_all(intake: Intake, stub: Stub, folder: Path) -> None:
    stub.answer = lambda *_: prediction() if len(stub.posts) < 2 else problem(401, "key_withdrawn")
    ended = intake("--url", stub.url, folder, "--concurrency", 1)
    assert ended.code == 3
    assert "does not accept the API key" in ended.err
    assert "1 answered" in ended.out
    assert len(stub.posts) == 2


def test_a_service_that_starts_again_in_the_midst_loses_nothing(ledger: Path, folder: Path) -> None:
    for number in range(20):
        (folder / f"{number}.png").write_bytes(b"%d" % number)
    first, second = Stub(), Stub()
    seen = threading.Event()

    def until_it_is_cut_off(path: str, body: bytes, before: int) -> Answer:
        if len(first.posts) <= 5:
            return prediction()
        seen.set()
        return 0, {}, b""

    first.answer = until_it_is_cut_off
    with serving(first):
        process = start(ledger, "--url", first.url, folder, "--concurrency", 4)
        assert seen.wait(30)
    with process, serving(second, int(first.url.rpartition(":")[2])):
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("23 files: 23 answered")
    assert len(second.posts) == 23 - 5


def test_files_that_cannot_be_read(
    intake: Intake, stub: Stub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "again").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    whole = Path.open

    def forbidden(self: Path, *arguments: object, **options: object) -> object:
        if self.name == "a.png":
            raise PermissionError(13, "Permission denied")
        return whole(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(read_module.Path, "open", forbidden)
    out = tmp_path / "out.jsonl"
    ended = intake("--url", stub.url, folder, folder / "missing.png", "--max-file-bytes", "10", "--export", out)
    monkeypatch.undo()
    assert ended.code == 1
    codes = {Path(row["path"]).name: row["error"] and row["error"]["code"] for row in rows(out)}
    assert codes == {
        "a.png": "unreadable",
        "b.png": None,
        "c.png": None,
        "gone.png": "not_found",
        "loop.png": "unreadable",
        "missing.png": "not_found",
    }
    assert "again: a link to a folder" in ended.err
    assert "pipe: not a regular file" in ended.err
    (folder / "big.png").write_bytes(bytes(11))
    assert "too_large_to_send" in intake("--url", stub.url, folder / "big.png", "--max-file-bytes", "10").err


def test_a_full_disk_under_the_ledger_is_no_success(
    intake: Intake, stub: Stub, folder: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert intake("--url", stub.url, folder / "a.png").code == 0
    whole = ledger_module.Ledger.begin_run

    def fill(self: ledger_module.Ledger, url: str) -> None:
        whole(self, url)
        [pages] = self._db.execute("PRAGMA page_count").fetchone()
        self._db.execute(f"PRAGMA max_page_count = {pages}")

    for number in range(20):
        (folder / f"{number}.png").write_bytes(b"%d" % number)
    monkeypatch.setattr(ledger_module.Ledger, "begin_run", fill)
    ended = intake("--url", stub.url, folder)
    monkeypatch.undo()
    assert (ended.code, ended.out) == (1, "")
    assert "disk of the ledger" in ended.err
    assert "is full" in ended.err
    ended = intake("--url", stub.url, folder)
    assert ended.code == 0
    assert ended.out.startswith("23 files: 23 answered")


def test_a_disk_that_takes_no_more_ends_it_without_success(stub: Stub, folder: Path, ledger: Path) -> None:
    for number in range(50):
        (folder / f"{number}.png").write_bytes(b"%d" % number)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40960, 40960))"
    with start(ledger, "--url", stub.url, folder, prelude=limit) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert f"ledger {ledger}" in err
    assert "Traceback" not in err
    with sqlite3.connect(ledger) as db:
        [recorded] = db.execute("SELECT COUNT(*) FROM answers").fetchone()
    assert 0 < recorded < 53
    with start(ledger, "--url", stub.url, folder) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(f"53 files: 53 answered ({recorded} before)")


@pytest.mark.parametrize("option", ["--export", "--heatmaps", "--quarantine"])
def test_a_place_that_cannot_be_written_is_no_success(
    intake: Intake, stub: Stub, folder: Path, tmp_path: Path, option: str
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    stub.answer = lambda path, *_: (
        problem(415, "unsupported_format")
        if option == "--quarantine"
        else (200, {}, b"\x89PNG\r\n\x1a\n")
        if path == "/explain"
        else prediction()
    )
    place = blocked / "out.csv" if option == "--export" else blocked / "folder"
    ended = intake("--url", stub.url, folder, option, place)
    assert ended.code == 1
    assert "Cannot write" in ended.err
