from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.folders import write_folder
from training.__main__ import app
from training.manifest import read_manifest
from training.preview import choose


@pytest.mark.parametrize(("count", "of_each"), [(5, (3, 2)), (15, (8, 7)), (18, (10, 8)), (40, (10, 8))])
def test_classes_take_turns_as_long_as_there_are_images(tmp_path: Path, count: int, of_each: tuple[int, int]) -> None:
    write_folder(tmp_path, 10)
    for number in (3, 4):
        (tmp_path / f"1/{number:02}.png").unlink()
    labels = [record.label for record in choose(read_manifest(tmp_path), 7, count)]
    assert sorted(labels) == labels
    assert sorted((labels.count(0), labels.count(1)), reverse=True) == list(of_each)


def test_the_seed_decides_the_choice(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path, 10))
    assert choose(manifest, 7, 6) == choose(manifest, 7, 6)
    assert choose(manifest, 7, 6) != choose(manifest, 8, 6)


def test_the_command_draws_equal_files_for_equal_seeds(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", 4, ("non-COVID", "COVID-19"))
    drawn = []
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["preview", "--data", str(tmp_path / "data"), "--out", str(tmp_path / out)]
        result = CliRunner().invoke(app, [*arguments, "--seed", seed, "--count", "4"])
        assert result.exit_code == 0, result.output
        files = result.stdout.splitlines()
        assert files == [str(tmp_path / out / name) for name in ("images.png", "class_counts.png")]
        drawn.append([Path(file).read_bytes() for file in files])
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[2][0]


def test_the_command_draws_what_the_version_that_is_asked_for_sees(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", 4)
    drawn = []
    for version in ("1", "2"):
        arguments = ["preview", "--data", str(tmp_path / "data"), "--out", str(tmp_path / version)]
        assert CliRunner().invoke(app, [*arguments, "--preprocessing", version]).exit_code == 0
        drawn.append((tmp_path / version / "images.png").read_bytes())
    assert drawn[0] != drawn[1]
    assert CliRunner().invoke(app, [*arguments, "--preprocessing", "3"]).exit_code == 2


def test_an_unreadable_image_is_named_or_skipped(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", 4)
    (tmp_path / "data/1/bad.png").write_bytes(b"")
    command = ["preview", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1
    assert str(tmp_path / "data/1/bad.png") in refused.stderr
    assert not (tmp_path / "out").exists()
    assert CliRunner().invoke(app, [*command, "--skip-unreadable"]).exit_code == 0


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    result = CliRunner().invoke(app, ["preview", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "'0/' and '1/'" in result.stderr
    assert "train" in result.stderr
