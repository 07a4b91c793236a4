"""Uploads stay in memory: the service runs where not a byte can be written to a file."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.app.server import NO_DISK, Server
from tests.images import dicom, radiograph

LARGE = dicom(np.tile(radiograph(430, 430).astype(np.uint16) * 16, (10, 10)), bits_stored=12)  # 37 MB


@pytest.fixture(scope="module")
def diskless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that can write no file, with no temporary folder, and with a cache folder that cannot be made."""
    folder = tmp_path_factory.mktemp("diskless")
    (folder / "file").write_text("where a folder should be")
    missing = folder / "missing"
    with Server(NO_DISK, cache_dir=folder / "file" / "cache", TMPDIR=missing, TEMP=missing, TMP=missing) as server:
        yield server


def test_nothing_can_be_written_under_the_prelude(tmp_path: Path) -> None:
    code = f"{NO_DISK}\nopen({str(tmp_path / 'file')!r}, 'w', buffering=1).write('one line\\n')"
    attempt = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "File too large" in attempt.stderr


def test_large_form_is_answered(diskless: Server) -> None:
    assert len(LARGE) > 36_000_000
    answer = diskless.client.post("/predict", files={"file": ("large.dcm", LARGE)})
    assert answer.status_code == 200, answer.text


def test_large_body_is_answered(diskless: Server) -> None:
    assert diskless.client.post("/predict", content=LARGE).status_code == 200


def test_explain_is_answered(diskless: Server) -> None:
    assert diskless.client.post("/explain", files={"file": LARGE}).status_code == 200


def test_log_says_that_no_compilation_is_kept(diskless: Server) -> None:
    assert diskless.wait_for_log("/file/cache cannot be used")["level"] == "WARNING"
    assert "no compilation cache" in diskless.wait_for_log("ready")["engine"]
