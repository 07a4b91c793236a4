import os
from pathlib import Path

import pytest

import training.atomic
from app.errors import TrainingError
from training.atomic import assert_room, replacing


def cut_off_in_the_middle(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"ne")
        raise KeyboardInterrupt


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        cut_off_in_the_middle(path)
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_full_disk_leaves_the_old_file_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.atomic.os, "fsync", full)
    with (
        pytest.raises(TrainingError, match=r"state could not be written: No space left on device\. Make room"),
        replacing(path) as file,
    ):
        file.write(b"new")
    assert path.read_text() == "old"


def test_room_is_checked_without_leaving_anything(tmp_path: Path) -> None:
    assert_room(tmp_path / "weights", 2**20)
    more = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize + 2**40
    with pytest.raises(TrainingError, match="weights could not be written"):
        assert_room(tmp_path / "weights", more)
    assert list(tmp_path.iterdir()) == []
