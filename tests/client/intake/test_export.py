import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.client.intake.errors import OutputFailed
from app.client.intake.export import export
from app.client.intake.ledger import Ledger
from app.client.intake.records import Key, Outcome, Record

ODD = os.fsdecode(b"/odd \xff.png")


@pytest.fixture
def filled(ledger: Path) -> Any:
    with Ledger(ledger) as opened:
        opened.begin_run("http://127.0.0.1")
        for given, path in (("=1+1.png", "/=1+1.png"), ("b,\n\"'.png", "/b"), (ODD, ODD)):
            body = {"label": "-x", "probabilities": {"-x": 0.25, "y": 0.75}, "model": {"name": "m"}}
            opened.record(Key(path, "0", "d", "predict"), Record(given, path, Outcome.ANSWERED, body, "0"))
        opened.fail(Record("@gone", "/gone", Outcome.FAILED, {"code": "not_found", "detail": "+gone"}))
        yield opened


def test_csv_is_read_back_and_holds_no_formula(filled: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    export(filled, path, of_all_runs=False)
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["'=1+1.png", "b,\n\"'.png", "'@gone", "/odd \\udcff.png"]
    assert [row["absolute_path"] for row in rows] == ["/=1+1.png", "/b", "/gone", "/odd \\udcff.png"]
    assert (rows[0]["label"], rows[0]["probability_-x"], rows[0]["probability_y"]) == ("'-x", "0.25", "0.75")
    assert (rows[2]["outcome"], rows[2]["error"], rows[2]["probability_y"]) == ("failed", "'+gone", "")


def test_json_lines_hold_any_path(filled: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    export(filled, path, of_all_runs=True)
    rows = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    assert [row["path"] for row in rows] == ["=1+1.png", "b,\n\"'.png", "@gone", ODD]
    assert rows[2] == {
        "path": "@gone",
        "absolute_path": "/gone",
        "outcome": "failed",
        "prediction": None,
        "error": {"code": "not_found", "detail": "+gone"},
        "heatmap": None,
        "sha256": None,
        "recorded_at": rows[2]["recorded_at"],
        "new": True,
    }


def test_an_export_that_fails_leaves_what_was_there(
    filled: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputFailed, match="No space left"):
        export(filled, path, of_all_runs=True)
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["out.csv"]
