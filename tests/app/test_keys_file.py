"""The keys file: its lines, the command that writes it, and what a running service makes of its changes."""

import hashlib
import hmac
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import SettingError
from app.keys import KeyRing, make_key, parse, ring
from tests.app.server import ROOT


def line(key: str, name: str) -> str:
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n"


TWO = line("one", "radiology") + line("two", "intake-2")


def test_lines_comments_and_blanks() -> None:
    text = (
        "\ufeff# Who may ask.\r\n\n  " + line("one", "radiology").strip() + "   # since May\r\n" + line("two", "B.2_c")
    )
    assert [(key.name, key.digest) for key in parse(text.encode())] == [
        ("radiology", hashlib.sha256(b"one").digest()),
        ("B.2_c", hashlib.sha256(b"two").digest()),
    ]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("cxr_secret-of-somebody", "not a name and a SHA-256"),
        ("cxr_secret cxr_secret", "not a name and a SHA-256"),
        (line("secret", "zq").strip()[:-1], "not a name and a SHA-256"),
        (line("secret", "zq").strip().upper(), "not a name and a SHA-256"),
        (line("secret", "zq").strip() + " more", "not a name and a SHA-256"),
        (line("secret", "two words"), "not a name and a SHA-256"),
        (line("secret", "-a"), "not a name and a SHA-256"),
        (line("secret", "a" * 65), "not a name and a SHA-256"),
        (line("secret", "radiology"), "name of an earlier line"),
        (line("one", "another"), "key of an earlier line"),
    ],
)
def test_malformed_line_is_named_by_number_alone(wrong: str, words: str) -> None:
    with pytest.raises(SettingError, match=r"^line 4 ") as refusal:
        parse(f"# comment\n\n{line('one', 'radiology')}{wrong}\n".encode())
    assert words in str(refusal.value)
    assert not [part for part in wrong.split() if part in str(refusal.value)]


def test_file_in_another_encoding_is_malformed() -> None:
    with pytest.raises(SettingError, match="line 1"):
        parse(TWO.encode("utf-16"))


def test_made_keys_have_256_random_bits_and_differ() -> None:
    made = [make_key("a")[0] for _ in range(50)]
    assert len(set(made)) == 50
    assert all(re.fullmatch(r"cxr_[A-Za-z0-9_-]{43}", key) for key in made)  # 43 base64 digits hold 256 bits


def test_every_digest_is_compared_wherever_the_key_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text("".join(line(str(number), f"k{number}") for number in range(5)))
    keys, compared = KeyRing(path), list[bytes]()

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for sent, name in (("0", "k0"), ("4", "k4"), ("none", None)):
        compared.clear()
        assert keys.name_of(sent) == name
        assert len(compared) == len(keys) == 5


class Watched:
    """A keys file that is looked at each time a key is asked for."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.path = folder / "keys"
        self.path.write_text(TWO)
        self.keys, self.log = KeyRing(self.path), caplog

    def accepted(self, *keys: str) -> list[str]:
        return [key for key in keys if self.keys.name_of(key)]

    def errors(self) -> list[str]:
        return [record.getMessage() for record in self.log.records if record.levelno == logging.ERROR]


@pytest.fixture
def watched(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(ring, "_LOOK_SECONDS", 0)
    return Watched(tmp_path, caplog)


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write(line("three", "new"))


def write_anew(path: Path) -> None:
    path.write_text(line("three", "new"))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_text(line("three", "new"))
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "left"), [(append, ["one", "two", "three"]), (write_anew, ["three"]), (replace, ["three"])]
)
def test_changed_file_is_read(watched: Watched, change: Callable[[Path], None], left: list[str]) -> None:
    assert watched.accepted("one", "two", "three") == ["one", "two"]
    change(watched.path)
    assert watched.accepted("one", "two", "three") == left
    assert not watched.errors()


def test_replaced_file_of_the_same_size_and_time_is_read(watched: Watched) -> None:
    status = watched.path.stat()
    other = watched.path.with_name("other")
    other.write_text(TWO.replace("radiology", "cardiolog"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(watched.path)
    assert watched.keys.name_of("one") == "cardiolog"


def test_mounted_secret_is_followed_where_its_link_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes mounts them: keys -> ..data/keys, ..data -> ..1; an update puts another ..data in its place."""
    monkeypatch.setattr(ring, "_LOOK_SECONDS", 0)
    for number, key in ((1, "old"), (2, "new")):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "keys").write_text(line(key, "radiology"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys").symlink_to("..data/keys")
    keys = KeyRing(tmp_path / "keys")
    assert (keys.name_of("old"), keys.name_of("new")) == ("radiology", None)
    (tmp_path / "..swap").symlink_to("..2")
    (tmp_path / "..swap").replace(tmp_path / "..data")
    assert (keys.name_of("old"), keys.name_of("new")) == (None, "radiology")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_text(TWO + "cxr_secret\n"), "line 3 "),
        (lambda path: path.unlink(), "cannot be read (No such file"),
    ],
)
def test_broken_file_keeps_the_keys_and_is_reported_once(
    watched: Watched, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(watched.path)
    for _ in range(3):
        assert watched.accepted("one", "two") == ["one", "two"]
    (error,) = watched.errors()
    assert words in error
    assert str(watched.path) in error
    assert "still" not in error
    assert "keys that were read before hold" in error
    assert "cxr_secret" not in error
    write_anew(watched.path)
    assert watched.accepted("one", "three") == ["three"]


@pytest.mark.parametrize("left", ["", "# none left\n"])
def test_last_key_can_be_withdrawn(watched: Watched, left: str) -> None:
    watched.path.write_text(left)
    assert watched.accepted("one", "two") == []
    (error,) = watched.errors()
    assert "nobody is let in" in error
    write_anew(watched.path)
    assert watched.accepted("one", "three") == ["three"]


def test_file_is_looked_at_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text(TWO)
    keys, looks = KeyRing(path), list[Path]()
    monkeypatch.setattr(ring, "_stamp", lambda path: looks.append(path) or keys._stamp)
    now = ring.time.monotonic()
    for seconds in (0.1, 0.5, 1.1, 1.2, 2.0, 2.2):
        monkeypatch.setattr(ring.time, "monotonic", lambda seconds=seconds: now + seconds)
        keys.name_of("one")
    assert len(looks) == 2


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX'")
@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o644, False), (0o620, True), (0o602, True)])
def test_file_that_others_may_write_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warns: bool
) -> None:
    path = tmp_path / "keys"
    path.write_text(TWO)
    path.chmod(mode)
    KeyRing(path)
    assert ["can be written by others" in record.getMessage() for record in caplog.records] == [True] * warns


# ------------------------------------------------------------ the command ----


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.keys", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_command_adds_a_line_and_prints_the_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    made = [command(path, name) for name in ("radiology", "intake")]
    assert [end.returncode for end in made] == [0, 0], made
    keys = KeyRing(path)
    assert [keys.name_of(end.stdout.removesuffix("\n")) for end in made] == ["radiology", "intake"]
    assert not [end for end in made if end.stdout.strip() in path.read_text() + end.stderr]
    assert "kept nowhere" in made[0].stderr


def test_command_completes_an_unfinished_last_line_and_keeps_the_file_in_place(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(TWO.strip())
    number = path.stat().st_ino
    assert command(path, "new").returncode == 0
    assert [key.name for key in parse(path.read_bytes())] == ["radiology", "intake-2", "new"]
    assert path.stat().st_ino == number


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (TWO, "radiology", "a key of the name radiology"),
        (TWO, "two words", "'two words' as a key's name"),
        (TWO + "rubbish\n", "new", "line 3 "),
    ],
)
def test_command_refuses_and_changes_nothing(tmp_path: Path, content: str, name: str, words: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    end = command(path, name)
    assert (end.returncode, end.stdout) == (2, "")
    assert words in end.stderr
    assert "Traceback" not in end.stderr
    assert path.read_text() == content


@pytest.mark.parametrize("arguments", [(), ("keys",), ("keys", "a", "b")])
def test_command_names_wrong_usage(arguments: tuple[str, ...]) -> None:
    end = command(*arguments)
    assert (end.returncode, end.stdout) == (2, "")
    assert "usage: python -m app.keys" in end.stderr


def test_command_needs_no_more_than_the_service() -> None:
    """The image, where it is called too, has no Typer."""
    code = "import sys; sys.modules.update(typer=None, rich=None); import app.keys.__main__"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_command_names_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    end = command(tmp_path / "none" / "keys", "radiology")
    assert (end.returncode, end.stdout) == (1, "")
    assert "cannot be written: No such file" in end.stderr
