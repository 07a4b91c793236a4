import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.images import encode
from tests.training.folders import picture, write_folder, write_table
from training.__main__ import app
from training.data_card import data_card
from training.data_facts import DataFacts, measure_data
from training.manifest import read_manifest
from training.markdown import table


def run(root: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["data", "--data", str(root / "data"), "--out", str(root / "card"), *options])


def card(root: Path) -> str:
    return data_card(measure_data(read_manifest(root), 7))


def test_the_command_writes_both_cards(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "card/data_card.md")
    facts = DataFacts.model_validate(json.loads((tmp_path / "card/data_card.json").read_text()))
    assert (tmp_path / "card/data_card.md").read_text() == data_card(facts)
    assert facts.split.seed == 7


def test_the_seed_is_that_of_the_split(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    assert run(tmp_path, "--seed", "8").exit_code == 0
    assert "Seed 8." in (tmp_path / "card/data_card.md").read_text()


def test_a_split_by_image_is_said_plainly(tmp_path: Path) -> None:
    write_folder(tmp_path)
    assert "The split is by image: no patients or groups are known" in card(tmp_path)


def test_a_split_by_group_is_said_plainly(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path, 12))
    write_table(tmp_path, [{"path": r.path, "group": f"g{i}"} for i, r in enumerate(manifest.records)])
    assert "by group, known for every image: no group is in more than one part." in card(tmp_path)
    write_table(tmp_path, [{"path": r.path, "group": f"g{i}"} for i, r in enumerate(manifest.records[:6])])
    assert "by group for 6 of 24 images" in card(tmp_path)


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path)
    text = card(tmp_path)
    assert "Sources are not known" in text
    for name in ("source", "view", "age", "sex"):
        assert f"Not known: metadata.csv gives no `{name}`." in text
    assert "None is named as the images of the paediatric pneumonia set" in text
    assert "No image: all can be read." in text
    assert "Near-duplicates: none found." in text


def test_sources_with_both_classes_are_named(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path, 12))
    sources = ["north" if 6 <= i < 18 else f"only {i // 12}" for i in range(24)]
    write_table(tmp_path, [{"path": r.path, "source": s} for r, s in zip(manifest.records, sources, strict=True)])
    text = card(tmp_path)
    assert "2 of 3 sources hold a single class" in text
    assert "Both classes are in north (6 and 6)" in text


def test_images_of_the_paediatric_set_in_the_covid_class_are_called_that(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for number in range(3):
        (tmp_path / f"1/person{number}_virus_1{number}.jpeg").write_bytes(encode(picture(90 + number), "JPEG"))
    (tmp_path / "0/NORMAL2-IM-0001-0001.jpeg").write_bytes(encode(picture(99), "JPEG"))
    text = card(tmp_path)
    assert "3 of 13 images of the class COVID-19 and 1 of 11 images of the class non-COVID are named as" in text
    assert "3 images of the class COVID-19 cannot show COVID-19" in text
    assert "person" not in text


def test_pairs_are_shown_with_their_parts(tmp_path: Path) -> None:
    write_folder(tmp_path, 12)
    (tmp_path / "1/copy.png").write_bytes((tmp_path / "0/01.png").read_bytes())
    text = card(tmp_path)
    assert "Equal files: 1 pair," in text
    assert "| pairs of different classes | 1 | 0 |" in text
    assert "| non-COVID / COVID-19 |" in text
    assert "01.png" not in text


def test_unreadable_images_are_named_or_left_out_and_counted(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    (tmp_path / "data/1/broken.png").write_bytes(b"")
    refused = run(tmp_path)
    assert refused.exit_code == 1
    assert str(tmp_path / "data/1/broken.png") in refused.stderr
    assert not (tmp_path / "card").exists()
    assert run(tmp_path, "--skip-unreadable").exit_code == 0
    text = (tmp_path / "card/data_card.md").read_text()
    assert "1 image cannot be read and was left out (0 non-COVID, 1 COVID-19; empty body 1)." in text
    assert "broken" not in text
    assert run(tmp_path, "--skip-unreadable", "--list-files").exit_code == 0
    assert "- `1/broken.png`" in (tmp_path / "card/data_card.md").read_text()


@pytest.mark.parametrize("missing", ["0", "1"])
def test_a_missing_class_folder_is_named(tmp_path: Path, missing: str) -> None:
    write_folder(tmp_path / "data")
    (tmp_path / "data" / missing).rename(tmp_path / "data/other")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "must hold the class folders '0/' and '1/' or 'non-COVID/' and 'COVID-19/'" in result.stderr
    assert "other" in result.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    (tmp_path / "card").write_text("a file")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert str(tmp_path / "card") in result.stderr


def test_a_cell_cannot_break_its_table() -> None:
    assert table(["a"], [["x | y\nz"]]) == "| a |\n| --- |\n| x \\| y z |"
