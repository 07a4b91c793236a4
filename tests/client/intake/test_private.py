"""Files that are whole or not there, whenever they are interrupted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.client.intake.private import write_private_file


def test_an_interrupt_while_it_is_written_leaves_what_was_there(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"the ne"
        raise KeyboardInterrupt

    path = tmp_path / "out"
    write_private_file(path, [b"the old"])
    with pytest.raises(KeyboardInterrupt):
        write_private_file(path, chunks())
    assert path.read_bytes() == b"the old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_once_it_is_in_place_stays_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def replace_and_be_interrupted(self: Path, target: Path) -> None:
        replace(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace_and_be_interrupted)
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_private_file(path, [b"whole"])
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]
