"""Compiled models kept between starts: when one is used, when never, and that only their owner can place one."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from app.artifact import INT8_MODEL, Artifact
from app.engines import Engine, load_engine
from app.engines.compiled import Source, load_compiled
from app.errors import ArtifactError
from app.imaging import to_network_input
from tests.app.engines.tiny import WEIGHTS, GainEngine, write_tiny
from tests.app.fakes import golden
from tests.app.gates import WAIT_SECONDS
from tests.app.server import ROOT

IMAGES = to_network_input(golden().squares)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_tiny(tmp_path / "models" / "tiny" / "1")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def load(artifact: Artifact, cache_dir: Path | None, batch_size: int = 2) -> Engine:
    return load_engine("openvino", artifact, precision="int8", threads=1, batch_size=batch_size, cache_dir=cache_dir)


def features(engine: Engine) -> np.ndarray:
    return engine.infer(IMAGES).features


def check_gain(engine: Engine, gain: float) -> None:
    np.testing.assert_allclose(features(engine), GainEngine(gain).infer(IMAGES).features, rtol=1e-4)


def blobs(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.blob"))


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def never_read(*_: object) -> None:
    raise AssertionError("The model was read again.")


def test_second_load_uses_what_the_first_compiled(
    artifact: Artifact, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(artifact, cache)
    kept = {path: path.stat().st_mtime_ns for path in files(cache)}
    assert len(kept) == 2  # one of a batch, one of a single image
    monkeypatch.setattr(ov.Core, "read_model", never_read)
    second = load(artifact, cache)
    assert {path: path.stat().st_mtime_ns for path in files(cache)} == kept
    assert "cached compilation" in second.description
    np.testing.assert_array_equal(features(second), features(first))
    check_gain(second, 1)


def test_without_a_folder_nothing_is_kept(artifact: Artifact) -> None:
    engine = load(artifact, None)
    assert "no compilation cache" in engine.description
    check_gain(engine, 1)


def test_other_weights_under_the_same_path_give_other_answers(artifact: Artifact, cache: Path) -> None:
    check_gain(load(artifact, cache), 1)
    first = blobs(cache)
    replaced = write_tiny(artifact.path, gain=3)
    check_gain(load(replaced, cache), 3)
    assert len(blobs(cache)) == 2 * len(first)
    restored = write_tiny(artifact.path, gain=1)
    check_gain(load(restored, cache), 1)


BASE = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1"}


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        (3, {}),
        (2, {"INFERENCE_PRECISION_HINT": "bf16"}),
        (2, {"INFERENCE_NUM_THREADS": "2"}),
        (2, {"INFERENCE_NUM_THREADS": "2", "NUM_STREAMS": "2"}),
    ],
)
def test_another_configuration_is_compiled_for_itself(
    artifact: Artifact, cache: Path, size: int, changes: dict[str, str]
) -> None:
    path = artifact.path / INT8_MODEL
    load_compiled(ov.Core(), Source(artifact, path, {2: BASE}), cache)
    before = blobs(cache)
    load_compiled(ov.Core(), Source(artifact, path, {size: {**BASE, **changes}}), cache)
    assert len(before) == 1
    assert len({blob.parent for blob in blobs(cache)}) == 2


def flip(blob: Path) -> None:
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 0xFF
    blob.write_bytes(data)


def truncate(blob: Path) -> None:
    os.truncate(blob, blob.stat().st_size // 2)


def empty(blob: Path) -> None:
    os.truncate(blob, 0)


def empty_under_its_own_digest(blob: Path) -> None:
    blob.unlink()
    (blob.parent / f"{hashlib.sha256().hexdigest()}.blob").touch()


def nonsense_under_its_own_digest(blob: Path) -> None:
    blob.unlink()
    content = b"no compiled model" * 100
    (blob.parent / f"{hashlib.sha256(content).hexdigest()}.blob").write_bytes(content)


def folder_in_its_place(blob: Path) -> None:
    blob.unlink()
    blob.mkdir()


@pytest.mark.parametrize(
    "damage",
    [flip, truncate, empty, empty_under_its_own_digest, nonsense_under_its_own_digest, folder_in_its_place],
)
def test_damaged_file_is_not_believed(
    artifact: Artifact, cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    load(artifact, cache)
    for blob in blobs(cache):
        damage(blob)
    engine = load(artifact, cache)
    check_gain(engine, 1)
    assert caplog.text.count("cannot be used") >= 2
    assert "it is compiled anew" in caplog.text
    for blob in files(cache):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.stem


def test_files_are_for_their_owner_alone(artifact: Artifact, cache: Path) -> None:
    before = os.umask(0)  # which takes nothing away
    try:
        load(artifact, cache)
    finally:
        os.umask(before)
    for blob in files(cache):
        assert stat.S_IMODE(blob.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(blob.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_folder_that_others_may_write_to_is_not_used(
    artifact: Artifact, cache: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    load(artifact, cache)
    kept = files(cache)
    for blob in kept:
        blob.parent.chmod(mode)
    engine = load(artifact, cache)
    assert "others may write to it" in caplog.text
    assert "no compilation cache" in engine.description
    assert files(cache) == kept


def test_folder_of_another_user_is_not_used(
    artifact: Artifact, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(artifact, cache)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    engine = load(artifact, cache)
    assert "cannot be used" in caplog.text
    assert "no compilation cache" in engine.description


def a_file(cache: Path) -> Path:
    cache.write_text("no folder")
    return cache


def below_a_file(cache: Path) -> Path:
    return a_file(cache) / "folder"


def where_nobody_may_write(_: Path) -> Path:
    return Path("/proc/compiled-models")


@pytest.mark.parametrize("make", [a_file, below_a_file, where_nobody_may_write])
def test_folder_that_cannot_be_made_is_told_and_done_without(
    artifact: Artifact, cache: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], Path]
) -> None:
    engine = load(artifact, make(cache))
    assert "every start compiles anew" in caplog.text
    assert "no compilation cache" in engine.description
    check_gain(engine, 1)


LOAD = """
import logging, sys
from pathlib import Path
from app.artifact import open_artifact
from app.engines import load_engine
logging.basicConfig()
model, cache = map(Path, sys.argv[1:])
artifact = open_artifact(model)
print("opened", flush=True)
sys.stdin.readline()
{prelude}
engine = load_engine("openvino", artifact, precision="int8", threads=1, batch_size=2, cache_dir=cache)
print(engine.description)
"""


def start_loading(artifact: Artifact, cache: Path, prelude: str = "") -> subprocess.Popen[str]:
    """Start a process that loads the engine once it is told to; it has imported all and opened the artifact."""
    command = [sys.executable, "-c", LOAD.format(prelude=prelude), artifact.path, cache]
    process = subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, stderr=-1, text=True)
    assert process.stdout
    assert process.stdout.readline() == "opened\n"
    return process


def end_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    output, log = process.communicate("\n", timeout=WAIT_SECONDS)
    assert process.returncode == 0, log
    return output, log


def test_disk_that_is_full_in_the_middle_of_a_file_is_told_and_nothing_left_on_it(
    artifact: Artifact, cache: Path
) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    output, log = end_of(start_loading(artifact, cache, full))
    assert "no compilation cache" in output
    assert "cannot be kept" in log
    assert files(cache) == []


def test_what_a_killed_process_left_half_written_is_removed_and_another_s_work_is_not(
    artifact: Artifact, cache: Path
) -> None:
    load(artifact, cache)
    [folder, _] = sorted({blob.parent for blob in blobs(cache)})
    for blob in blobs(cache):
        blob.unlink()
    abandoned, current = folder / "partial-abandoned", folder / "partial-current"
    for partial in (abandoned, current):
        partial.mkdir()
        (partial / "blob").write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    load(artifact, cache)
    assert not abandoned.exists()
    assert (current / "blob").read_bytes() == b"half"


def test_processes_that_start_at_once_share_a_folder(artifact: Artifact, cache: Path) -> None:
    """Also where they cannot tell each other by their number, as the first ones of two containers."""
    processes = [start_loading(artifact, cache, "import os; os.getpid = lambda: 1") for _ in range(3)]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        output, log = end_of(process)
        assert "cached compilation" in output
        assert log == ""
    for path in files(cache):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


def overwrite(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(bytes((folder / WEIGHTS).stat().st_size))


def cut_off(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, 1)


def take_away(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize("change", [overwrite, cut_off, take_away])
def test_model_that_changed_since_it_was_verified_is_refused_and_not_kept(
    artifact: Artifact, cache: Path, change: Callable[[Path], None]
) -> None:
    change(artifact.path)
    with pytest.raises(ArtifactError, match=str(artifact.path)):
        load(artifact, cache)
    assert files(cache) == []


def test_model_that_changes_once_it_was_read_is_what_was_read(
    artifact: Artifact, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Artifact.check_files

    def check_and_overwrite(artifact: Artifact) -> None:
        check(artifact)
        overwrite(artifact.path)

    monkeypatch.setattr(Artifact, "check_files", check_and_overwrite)
    check_gain(load(artifact, cache), 1)
    assert not any((artifact.path / WEIGHTS).read_bytes())


@pytest.mark.parametrize("with_cache", [False, True])
@pytest.mark.parametrize("change", [overwrite, cut_off, shutil.rmtree])
def test_loaded_model_does_not_depend_on_its_folder(
    artifact: Artifact, cache: Path, change: Callable[[Path], None], with_cache: bool
) -> None:
    engine = load(artifact, cache if with_cache else None)
    expected = features(engine)
    change(artifact.path)
    np.testing.assert_array_equal(features(engine), expected)


def test_loaded_model_does_not_depend_on_the_names_of_its_compilation(artifact: Artifact, cache: Path) -> None:
    engine = load(artifact, cache)
    expected = features(engine)
    shutil.rmtree(cache)
    np.testing.assert_array_equal(features(engine), expected)
