import io
import os
from pathlib import Path

import pytest

from app.client.intake.files import Own, Skip, expand, listed, select


def found(*names: object, own: Own | None = None) -> dict[str, Skip | None]:
    return {selected.given: selected.skip for selected in select(map(str, names), own or Own())}


def test_a_folder_is_searched_without_hidden_files_and_links_to_folders(folder: Path) -> None:
    (folder / ".hidden.png").touch()
    (folder / ".git").mkdir()
    (folder / ".git" / "d.png").touch()
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "link.png").symlink_to(folder / "a.png")
    assert found(folder) == {
        f"{folder}/a.png": None,
        f"{folder}/b.png": None,
        f"{folder}/deep/c.png": None,
        f"{folder}/link.png": None,
        f"{folder}/.hidden.png": Skip.HIDDEN,
        f"{folder}/.git": Skip.HIDDEN,
        f"{folder}/deep/up": Skip.LINKED_FOLDER,
    }
    assert found(folder / ".hidden.png") == {f"{folder}/.hidden.png": None}


def test_a_file_comes_once_by_whatever_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names = [folder / "a.png", "a.png", "deep/../a.png", folder]
    sent = [selected.given for selected in select(map(str, names), Own()) if not selected.skip]
    assert sorted(sent) == sorted(str(folder / name) for name in ("a.png", "b.png", "deep/c.png"))


def test_what_the_intake_writes_is_not_sent(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    own = Own([link / "a.png"], [folder / "deep"])
    assert found(folder, own=own) == {
        f"{folder}/a.png": Skip.OWN,
        f"{folder}/b.png": None,
        f"{folder}/deep": Skip.OWN,
    }
    assert found(link / "a.png", own=own) == {f"{link}/a.png": Skip.OWN}


def test_a_folder_that_cannot_be_listed_is_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.scandir

    def forbidden(path: str) -> object:
        if path.endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return whole(path)

    monkeypatch.setattr("os.scandir", forbidden)
    problems = [selected for selected in select([str(folder)], Own()) if selected.problem]
    assert [(selected.given, selected.problem) for selected in problems] == [
        (f"{folder}/deep", "The folder cannot be listed: Permission denied.")
    ]


def test_patterns_are_expanded_and_names_are_not(folder: Path) -> None:
    (folder / "[ab].png").touch()
    assert sorted(expand([f"{folder}/**/?.png"])) == [f"{folder}/{name}.png" for name in ("a", "b", "deep/c")]
    assert list(expand([f"{folder}/[ab].png"])) == [f"{folder}/[ab].png"]
    assert list(expand([f"{folder}/*.dcm"])) == [f"{folder}/*.dcm"]


@pytest.mark.parametrize(
    ("text", "nul", "names"),
    [
        (b"a\n\nb c\r\n\xff", False, ["a", "b c", os.fsdecode(b"\xff")]),
        (b"a\nb\0\0c\0", True, ["a\nb", "c"]),
        (b"x" * 70_000 + b"\0y", True, ["x" * 70_000, "y"]),
        (b"", False, []),
    ],
)
def test_names_are_read_from_a_list(text: bytes, nul: bool, names: list[str]) -> None:
    assert list(listed(io.BytesIO(text), nul=nul)) == names
