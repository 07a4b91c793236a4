import threading
from pathlib import Path

import pytest

from app.client.intake.files import Own, Selected
from app.client.intake.watch import Watch


class Clock:
    """Time that passes by looks at the folder."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.client.intake.watch.time", clock)
    return clock


def watch(folder: Path) -> Watch:
    return Watch(str(folder), Own(), 10, threading.Event(), idle=lambda: None)


def look(watch: Watch) -> list[Selected]:
    return sorted(watch._look(), key=lambda selected: selected.given)


def test_a_file_is_offered_once_it_stands_still(folder: Path, clock: Clock) -> None:
    watched = watch(folder)
    assert (look(watched), watched.unsettled) == ([], 3)
    clock.now += 9
    (folder / "a.png").write_bytes(b"longer than before")
    assert (look(watched), watched.unsettled) == ([], 3)
    clock.now += 1
    assert [Path(selected.given).name for selected in look(watched)] == ["b.png", "c.png"]
    assert watched.unsettled == 1
    clock.now += 9
    assert [Path(selected.given).name for selected in look(watched)] == ["a.png"]
    clock.now += 100
    assert (look(watched), watched.unsettled) == ([], 0)
    (folder / "b.png").write_bytes(b"another")
    assert (look(watched), watched.unsettled) == ([], 1)
    clock.now += 10
    assert [Path(selected.given).name for selected in look(watched)] == ["b.png"]


def test_a_file_that_failed_is_offered_again_after_a_while(folder: Path, clock: Clock) -> None:
    watched = watch(folder)
    look(watched)
    clock.now += 10
    first, *_ = look(watched)
    watched.postpone(first)
    clock.now += 1
    assert look(watched) == []
    clock.now += 58
    assert look(watched) == []
    clock.now += 2
    assert look(watched) == [first]


def test_what_is_no_file_is_told_once_and_what_has_gone_is_not(folder: Path, clock: Clock) -> None:
    (folder / "up").symlink_to(folder)
    (folder / ".hidden").touch()
    (folder / "nowhere.png").symlink_to("nowhere")
    watched = watch(folder)
    look(watched)
    (folder / "a.png").unlink()
    clock.now += 10
    names = [Path(selected.given).name for selected in look(watched)]
    assert names == ["b.png", "c.png", "nowhere.png", "up"]
    clock.now += 10
    assert look(watched) == []
