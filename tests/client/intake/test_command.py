"""The command against the real service, and its exit codes."""

import csv
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.app.server import Server
from tests.client.intake.conftest import Intake, rows
from tests.client.intake.stub import OVERLAY, Stub, prediction, problem
from tests.images import dicom, encode, radiograph


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """Two images, and what else lies in such folders."""
    folder = tmp_path / "exports"
    (folder / "deep" / ".thumbnails").mkdir(parents=True)
    (folder / "a.png").write_bytes(encode(radiograph(seed=1), "PNG"))
    (folder / "deep" / "film").write_bytes(dicom(radiograph(seed=2)))
    (folder / "deep" / "notes.txt").write_text("no image")
    (folder / "deep" / ".thumbnails" / "a.png").write_bytes(b"")
    return folder


def test_a_folder_s_answers_are_recorded_and_exported(
    server: Server, intake: Intake, exports: Path, tmp_path: Path
) -> None:
    table, lines, refused = tmp_path / "results.csv", tmp_path / "results.jsonl", tmp_path / "refused"
    run = ("--url", server.url, exports, "--export", table, "--export", lines, "--quarantine", refused)
    ended = intake(*run, "--heatmaps", tmp_path / "heatmaps")
    assert (ended.code, ended.out) == (1, "3 files: 2 answered (0 before), 1 refused (0 before), 0 failed\n")
    assert "notes.txt: unsupported_format" in ended.err

    found = {row["path"]: row for row in rows(lines)}
    assert list(found) == sorted(str(exports / name) for name in ("a.png", "deep/film", "deep/notes.txt"))
    direct = server.client.post("/predict", content=(exports / "a.png").read_bytes()).json()
    answer = found[str(exports / "a.png")]
    assert answer["prediction"]["probabilities"] == pytest.approx(direct["probabilities"], abs=1e-5)
    assert answer["prediction"]["model"] == direct["model"]
    assert Path(answer["heatmap"]).read_bytes().startswith(b"\x89PNG")
    assert found[str(exports / "deep" / "notes.txt")]["error"]["status"] == 415

    with table.open(newline="", encoding="utf-8") as file:
        by_path = {row["path"]: row for row in csv.DictReader(file)}
    assert {path: row["outcome"] for path, row in by_path.items()} == {
        path: row["outcome"] for path, row in found.items()
    }
    row = by_path[str(exports / "a.png")]
    assert float(row["probability_COVID-19"]) == answer["prediction"]["probabilities"]["COVID-19"]
    assert row["label"] == answer["prediction"]["label"]
    [copy] = refused.glob("*.txt")
    assert copy.read_text() == "no image"
    assert (exports / "deep" / "notes.txt").exists()


def test_what_was_answered_is_not_sent_again(server: Server, intake: Intake, exports: Path) -> None:
    (exports / "deep" / "notes.txt").unlink()
    assert intake("--url", server.url, exports).code == 0
    before = server.metric("cxr_predictions_total")
    assert before >= 2
    ended = intake("--url", server.url, exports)
    assert (ended.code, ended.out) == (0, "2 files: 2 answered (2 before), 0 refused (0 before), 0 failed\n")
    assert server.metric("cxr_predictions_total") == before


def test_another_content_option_or_model_is_another_answer(
    stub: Stub, intake: Intake, folder: Path, tmp_path: Path
) -> None:
    stub.answer = lambda path, *_: (200, {}, OVERLAY) if path == "/explain" else prediction(stub.model)
    run = ("--url", stub.url, folder / "a.png")
    assert intake(*run).code == 0
    (folder / "a.png").write_bytes(b"other")
    assert "(0 before)" in intake(*run).out
    assert "(0 before)" in intake(*run, "--heatmaps", tmp_path / "heatmaps").out
    stub.model = "b" * 64
    assert "(0 before)" in intake(*run).out
    assert "1 answered (1 before)" in intake(*run).out
    everything = tmp_path / "all.jsonl"
    assert intake("--export", everything).code == 0
    assert len(rows(everything)) == 4


def test_a_model_that_changes_in_the_midst_is_the_one_that_is_recorded(
    stub: Stub, intake: Intake, folder: Path, tmp_path: Path
) -> None:
    stub.answer = lambda *_: prediction("a" * 64 if len(stub.posts) == 1 else "b" * 64)
    out = tmp_path / "out.jsonl"
    ended = intake("--url", stub.url, folder, "--concurrency", 1, "--export", out)
    assert ended.code == 0
    assert "now serves stub/1" in ended.err
    digests = [row["prediction"]["model"]["digest"][0] for row in rows(out)]
    assert sorted(digests) == ["a", "b", "b"]
    stub.model, stub.answer = "b" * 64, lambda *_: prediction("b" * 64)
    assert "3 answered (2 before)" in intake("--url", stub.url, folder).out


def test_a_refused_file_is_sent_again_only_when_that_is_asked_for(stub: Stub, intake: Intake, folder: Path) -> None:
    stub.answer = lambda *_: problem(415, "unsupported_format")
    run = ("--url", stub.url, folder / "a.png")
    assert intake(*run).code == 1
    ended = intake(*run)
    assert (ended.code, len(stub.posts)) == (1, 1)
    assert "1 refused (1 before)" in ended.out
    stub.answer = lambda *_: prediction()
    assert intake(*run, "--retry-failed").code == 0
    assert intake(*run).code == 0
    assert len(stub.posts) == 2


def test_a_quarantine_moves_only_when_told(stub: Stub, intake: Intake, folder: Path) -> None:
    stub.answer = lambda *_: problem(422, "corrupt_image")
    quarantine = folder / "refused"
    run = ("--url", stub.url, folder, "--quarantine", quarantine)
    assert intake(*run).code == 1
    assert intake(*run).code == 1  # what lies in the quarantine is not sent
    assert len(stub.posts) == 3
    assert len(list(quarantine.glob("*.png"))) == 3
    for reason in quarantine.glob("*.reason.json"):
        about = json.loads(reason.read_text())
        assert about["code"] == "corrupt_image"
        assert Path(about["path"]).exists()
    assert intake(*run, "--quarantine-move").code == 1
    assert [path for path in folder.rglob("*.png") if path.parent != quarantine] == []
    assert len(list(quarantine.glob("*.png"))) == 3


def test_paths_from_standard_input(stub: Stub, intake: Intake, folder: Path, tmp_path: Path) -> None:
    odd = os.fsencode(folder) + b"/odd \xff\n.png"
    Path(os.fsdecode(odd)).write_bytes(b"odd")
    lines = f"{folder / 'a.png'}\n\n{folder / 'a.png'}\n".encode()
    assert "1 files: 1 answered" in intake("--url", stub.url, "-", given=lines).out
    out = tmp_path / "out.jsonl"
    assert intake("--url", stub.url, "-", "-0", "--export", out, given=odd + b"\0").code == 0
    [row] = rows(out)
    assert os.fsencode(row["path"]) == odd


def test_json_lines_are_all_that_is_on_standard_output(stub: Stub, intake: Intake, folder: Path) -> None:
    intake("--url", stub.url, folder / "a.png")
    ended = intake("--url", stub.url, folder, "--json")
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert {line["path"]: line["new"] for line in lines} == {
        str(folder / "a.png"): False,
        str(folder / "b.png"): True,
        str(folder / "deep/c.png"): True,
    }
    assert ended.err == "3 files: 3 answered (1 before), 0 refused (0 before), 0 failed\n"


def test_a_dry_run_neither_sends_nor_writes(intake: Intake, stub: Stub, folder: Path, ledger: Path) -> None:
    ended = intake("--dry-run", folder, "--url", "http://127.0.0.1:1")
    assert ended.code == 0
    assert ended.out.count("send  ") == 3
    assert not ledger.parent.exists()
    intake("--url", stub.url, folder / "a.png")
    (folder / ".hidden").touch()
    before = {path: path.stat().st_mtime_ns for path in (ledger, *ledger.parent.iterdir(), *folder.rglob("*"))}
    ended = intake("--dry-run", folder, folder / "gone.png")
    assert ended.code == 1
    assert f"skip  {folder / 'a.png'}: answered" in ended.out
    assert f"skip  {folder / '.hidden'}: hidden" in ended.out
    assert f"fail  {folder / 'gone.png'}: It is not there" in ended.out
    assert "2 would be sent, 2 not, 1 cannot be" in ended.out
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert len(stub.posts) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--dry-run",),
        ("--export", "results.xlsx", "."),
        ("--watch", "no-such-folder"),
        ("--watch", ".", "file.png"),
        ("--quarantine-move", "."),
        ("--url", "not an address", "."),
        ("--api-key-file", "no-such-file", "."),
        ("--concurrency", "0", "."),
        ("--no-such-option",),
        ("--export", "results.csv"),  # without a ledger
    ],
)
def test_wrong_usage_is_exit_code_2(intake: Intake, arguments: Any, ledger: Path) -> None:
    assert intake(*arguments).code == 2
    assert not ledger.exists()


def test_nothing_to_send_is_no_success(intake: Intake, stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = intake("--url", stub.url, tmp_path / "empty")
    assert ended.code == 2
    assert "No file is selected" in ended.err


def test_a_service_that_is_not_there_is_exit_code_3(intake: Intake, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ended = intake("--url", f"http://127.0.0.1:{port}", folder)
    assert (ended.code, ended.out) == (3, "")
    assert f"http://127.0.0.1:{port}" in ended.err


def test_another_server_at_the_address_is_exit_code_3(intake: Intake, stub: Stub, folder: Path) -> None:
    ended = intake("--url", f"{stub.url}/elsewhere", folder)
    assert ended.code == 0  # the stub takes any path for the model's
    stub.get = lambda path: (404, {}, b"<html>")  # type: ignore[method-assign]
    ended = intake("--url", stub.url, folder)
    assert ended.code == 3
    assert "is not the service" in ended.err


def test_a_key_comes_from_a_file_or_the_environment(
    intake: Intake, stub: Stub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "key").write_text("from-file\n")
    assert "3 files" in intake("--url", stub.url, folder, "--api-key-file", folder / "key").out
    monkeypatch.setenv("CXR_API_KEY", "from-environment")
    assert "4 files" in intake("--url", stub.url, folder).out
    assert stub.authorizations == {"Bearer from-file", "Bearer from-environment"}
