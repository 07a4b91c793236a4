from pathlib import Path

import pytest

from app.errors import TrainingError
from tests.images import encode
from tests.training.folders import picture, write_folder, write_table
from training import data_facts
from training.ages import age_years
from training.data_facts import NOT_KNOWN, OTHER, DataFacts, is_of_older_set, measure_data
from training.images import leave_out_unreadable
from training.manifest import LABELS, read_manifest
from training.splits import Split


def measure(root: Path, **options: bool) -> DataFacts:
    return measure_data(read_manifest(root), seed=7, **options)


def paths(root: Path) -> list[str]:
    return [record.path for record in read_manifest(root).records]


@pytest.mark.parametrize(
    "name",
    [
        "person1400_bacteria_3551.jpeg",
        "person755_virus_1354.jpeg",
        "NORMAL2-IM-1427-0001.jpeg",
        "IM-0115-0001.jpeg",
        "IM-0533-0001-0002.jpeg",
        "BACTERIA-1008087-0001.jpeg",
        "VIRUS-1018049-0001.jpeg",
        "NORMAL-1003233-0001.jpeg",
        "Person1_Virus_6.png",
    ],
)
def test_names_of_the_paediatric_set_are_recognised(name: str) -> None:
    assert is_of_older_set(f"COVID-19/{name}")


@pytest.mark.parametrize(
    "name",
    [
        "nih-00001299_000.jpg",
        "COVID-00023.jpg",
        "person.png",
        "CXR1_1_IM-0001-4001.png",  # Indiana University's
        "COVID-19_IM-2020-0401.png",
        "virus-1.png",
        "normal (12).jpg",
    ],
)
def test_other_names_are_not(name: str) -> None:
    assert not is_of_older_set(f"person1_virus_1/{name}")


@pytest.mark.parametrize(
    ("text", "years"),
    [("45", 45), ("45.0", 45), (" 058Y", 58), ("18M", 1.5), ("026W", 0.5), ("", None), ("40-50", None), ("?", None)],
)
def test_ages_are_read_in_the_forms_that_sources_use(text: str, years: float | None) -> None:
    assert age_years(text) == years


def test_classes_sources_and_sizes_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "0/00.png").write_bytes(encode(picture(50, 30, 40), "PNG"))
    write_table(tmp_path, [{"path": path, "source": "north" if path < "1" else "south"} for path in paths(tmp_path)])
    facts = measure(tmp_path)
    assert facts.total.images == {"non-COVID": 10, "COVID-19": 10}
    assert facts.sources["north"].images == {"non-COVID": 10, "COVID-19": 0}
    of_north, of_south = facts.sizes
    assert (of_north.label, of_north.source, of_north.images) == ("non-COVID", "north", 10)
    assert (of_north.smallest, of_north.median, of_north.largest) == ("40 x 30", "60 x 60", "60 x 60")
    assert (of_north.square_share, of_south.square_share) == (0.9, 0)
    assert of_south.largest == "80 x 60"


def test_the_parts_hold_everything_once_and_no_group_twice(tmp_path: Path) -> None:
    write_folder(tmp_path, 24)
    write_table(tmp_path, [{"path": path, "group": f"{path[0]}-{int(path[2:4]) // 2}"} for path in paths(tmp_path)])
    facts = measure(tmp_path)
    assert facts.split.grouped_images == 48
    assert facts.split.groups_in_several_parts == 0
    assert {
        name: sum(part.images[label] for part in facts.split.parts.values())
        for name, label in zip("ab", LABELS, strict=True)
    } == {"a": 24, "b": 24}
    assert sum(part.groups for part in facts.split.parts.values()) == facts.total.groups == 24


def test_copies_are_found_in_one_class_and_in_two(tmp_path: Path) -> None:
    write_folder(tmp_path, 12)
    original = picture(3, 200, 200)
    (tmp_path / "0/03.png").write_bytes(encode(original, "PNG"))
    (tmp_path / "0/equal.png").write_bytes(encode(original, "PNG"))
    (tmp_path / "1/again.jpg").write_bytes(encode(original, "JPEG", quality=60))
    facts = measure(tmp_path, list_files=True)
    assert (facts.exact_duplicates.pairs, facts.exact_duplicates.between_classes) == (1, 0)
    assert (facts.near_duplicates.pairs, facts.near_duplicates.images) == (2, 3)
    assert (facts.near_duplicates.between_classes, facts.near_duplicates.between_groups) == (2, 2)
    assert facts.exact_duplicates.listed[0].files == ("0/03.png", "0/equal.png")
    assert facts.closest_beyond_limit_bits is not None


def test_a_property_is_set_against_the_class(tmp_path: Path) -> None:
    write_folder(tmp_path)
    rows = [
        {"path": path, "view": "AP" if path < "0/08" else "PA", "age": "70" if path > "1/05" else ""}
        for path in paths(tmp_path)
    ]
    write_table(tmp_path, rows)
    facts = measure(tmp_path)
    shape, view, age, sex = (facts.properties[name] for name in ("shape", "view", "age", "sex"))
    assert shape.values == {
        "square": {"non-COVID": 10, "COVID-19": 0},
        "wider than high": {"non-COVID": 0, "COVID-19": 10},
    }
    assert (shape.rule_accuracy, shape.larger_class_share) == (1, 0.5)
    assert view.values["PA"] == {"non-COVID": 2, "COVID-19": 10}
    assert view.rule_accuracy == 0.9
    assert (age.known, age.rule_accuracy, age.larger_class_share) == (5, 1, 1)
    assert age.values["60 to 79"] == {"non-COVID": 0, "COVID-19": 5}
    assert facts.median_age_years == {"non-COVID": None, "COVID-19": 70}
    assert (sex.known, sex.rule_accuracy) == (0, None)
    assert list(sex.values) == [NOT_KNOWN]


def test_rare_values_are_gathered(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_table(
        tmp_path, [{"path": path, "view": "AP" if path < "1" else f"of Jane {path}"} for path in paths(tmp_path)]
    )
    facts = measure(tmp_path)
    assert list(facts.properties["view"].values) == ["AP", OTHER]
    assert "Jane" not in facts.model_dump_json()


def test_identifiers_and_names_stay_out_unless_files_are_asked_for(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "0/copy of Jane Doe.png").write_bytes((tmp_path / "0/01.png").read_bytes())
    (tmp_path / "1/Jane Doe.png").write_bytes(b"")
    groups = [{"path": path, "group": f"Doe, Jane {path}", "patient_id": "MRN 12345"} for path in paths(tmp_path)]
    write_table(tmp_path, groups)
    manifest = leave_out_unreadable(read_manifest(tmp_path))
    closed = measure_data(manifest, 7).model_dump_json()
    opened = measure_data(manifest, 7, list_files=True).model_dump_json()
    assert not any(word in closed for word in ("Jane", "12345", ".png"))
    assert "0/copy of Jane Doe.png" in opened
    assert "1/Jane Doe.png" in opened
    assert "Doe, Jane" not in opened


def test_left_out_images_are_counted_by_class_and_reason(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "1/empty.png").write_bytes(b"")
    (tmp_path / "1/cut.png").write_bytes(encode(picture(1), "PNG")[:200])
    with pytest.raises(TrainingError, match="2 images cannot be read"):
        measure(tmp_path)
    facts = measure_data(leave_out_unreadable(read_manifest(tmp_path)), 7)
    assert facts.skipped.images == {"non-COVID": 0, "COVID-19": 2}
    assert facts.skipped.reasons == {"corrupt_image": 1, "empty_body": 1}
    assert len(facts.skipped.files) == 2
    assert facts.total.images["COVID-19"] == 10


def test_equal_data_and_seed_give_equal_facts(tmp_path: Path) -> None:
    write_folder(tmp_path)
    assert measure(tmp_path) == measure(tmp_path)


def test_a_class_too_small_for_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needs at least 10"):
        measure(write_folder(tmp_path, 4))


def test_a_group_in_two_parts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = read_manifest(write_folder(tmp_path)).records
    leaky = Split(train=records[:12], validation=records[12:], test=records[:1])
    monkeypatch.setattr(data_facts, "split", lambda manifest, seed: leaky)
    with pytest.raises(TrainingError, match="is in both train and test"):
        measure(tmp_path)
