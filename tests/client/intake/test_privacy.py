"""cxr-intake sends no names, and what it keeps and says holds paths, as it is meant to, and nothing out of a DICOM."""

import hashlib
import os
from pathlib import Path

from tests.app.patient import FILE_NAME, UPLOADS, find_identifiers
from tests.app.server import Server
from tests.client.intake.conftest import Intake
from tests.client.intake.stub import Stub


def test_what_is_sent_names_nobody_but_by_the_image_itself(stub: Stub, intake: Intake, tmp_path: Path) -> None:
    folder = tmp_path / "Zzyzx^Quentin"
    folder.mkdir()
    data = UPLOADS["whole"]
    (folder / FILE_NAME).write_bytes(data)
    ended = intake("--url", stub.url, folder, "--heatmaps", tmp_path / "heatmaps")
    assert [sha256 for _, sha256 in stub.posts] == [hashlib.sha256(data).hexdigest()] * 2
    assert len(stub.heads) >= 3  # the model, the answer, the heatmap
    assert find_identifiers("\n".join(stub.heads)) == []
    assert ended.code == 1  # The stub's overlay is none: that is not what is tested here.


def test_what_is_kept_and_said_holds_nothing_out_of_a_file(
    server: Server, intake: Intake, tmp_path: Path, ledger: Path
) -> None:
    folder, kept = tmp_path / "exports", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    for number, data in enumerate(UPLOADS.values()):
        (folder / f"{number}.dcm").write_bytes(data)
    ended = intake(
        *("--url", server.url, folder, "--heatmaps", kept / "heatmaps", "--json"),
        *("--export", kept / "results.csv", "--export", kept / "results.jsonl"),
    )
    assert ended.out.count("\n") == len(UPLOADS)
    assert ended.out.count('"outcome": "refused"') > 20
    assert ended.out.count('"outcome": "answered"') > 20
    files = [path for root in (kept, ledger.parent) for path in root.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"results.csv", "results.jsonl", ledger.name}
    assert {path.name: found for path in files if (found := find_identifiers(path.read_bytes()))} == {}
    assert find_identifiers(ended.out + ended.err) == []
    assert not [path for path in files if path.stat().st_mode & 0o077 and os.name == "posix"]
