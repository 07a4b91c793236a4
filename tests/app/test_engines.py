"""Loading an engine, and what its cache of compiled models may be."""

import shutil
from pathlib import Path

import pytest

from app.artifact import Artifact
from app.engines import load_engine
from tests.app.server import Server


def test_damaged_compilation_is_not_believed(
    shipped: Artifact, server: Server, cache_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(cache_dir, tmp_path / "cache")
    blobs = list((tmp_path / "cache").rglob("*.blob"))
    assert blobs  # The server's, and those of other tests.
    for blob in blobs:
        data = bytearray(blob.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 2000] = b"\xff" * 2000
        blob.unlink()
        blob.write_bytes(data)
    engine = load_engine("openvino", shipped, cache_dir=tmp_path / "cache")
    assert "cannot be used (its content is not what was written)" in caplog.text
    assert "cached compilation" in engine.description  # compiled anew, and kept
