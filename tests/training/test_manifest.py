import csv
from pathlib import Path

import pytest

from app.errors import TrainingError
from training.manifest import Manifest, count_classes, read_manifest

ROWS = {"0/a.png": "p1", "0/b.png": "p1", "1/c.png": "p2"}


def write_images(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def write_table(root: Path, *rows: tuple[str, ...], encoding: str = "utf-8") -> None:
    with (root / "metadata.csv").open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path, tuple(ROWS))


@pytest.mark.parametrize(("negative", "positive"), [("0", "1"), ("non-COVID", "COVID-19")])
def test_classes_come_from_folder_names(negative: str, positive: str, tmp_path: Path) -> None:
    manifest = read_manifest(write_images(tmp_path, (f"{negative}/x.png", f"{positive}/y.jpg", f"{positive}/z.dcm")))
    assert [(r.path, r.label) for r in manifest.records] == sorted(
        [(f"{negative}/x.png", 0), (f"{positive}/y.jpg", 1), (f"{positive}/z.dcm", 1)]
    )
    assert count_classes(manifest.records) == (1, 2)


def test_without_a_table_each_image_is_its_own_group(root: Path) -> None:
    manifest = read_manifest(root)
    assert not manifest.grouped
    assert manifest.groups == [r.path for r in manifest.records]
    assert {(r.source, r.licence) for r in manifest.records} == {("", "")}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_table_gives_group_source_and_licence(encoding: str, root: Path) -> None:
    rows = [(path, group, "hospital", "CC0") for path, group in ROWS.items()]
    write_table(root, ("path", "group", "source", "licence"), *rows, encoding=encoding)
    manifest = read_manifest(root)
    assert manifest.grouped
    assert manifest.groups == ["p1", "p1", "p2"]
    assert {(r.source, r.licence) for r in manifest.records} == {("hospital", "CC0")}


def test_groups_count_as_known_only_if_every_image_has_one(root: Path) -> None:
    write_table(root, ("path", "group", "source"), ("0/a.png", "p1"), ("0/b.png", ""))
    manifest = read_manifest(root)
    assert not manifest.grouped
    assert manifest.groups == ["p1", "0/b.png", "1/c.png"]
    assert {r.source for r in manifest.records} == {""}


def test_rows_of_absent_files_are_ignored(root: Path) -> None:
    write_table(root, ("path", "group"), *ROWS.items(), ("0/gone.png", "p9"))
    assert read_manifest(root).groups == ["p1", "p1", "p2"]


@pytest.mark.parametrize("label", ["0", ""])
def test_an_agreeing_or_empty_label_is_accepted(label: str, root: Path) -> None:
    write_table(root, ("path", "label"), ("0/a.png", label))
    assert read_manifest(root).labels == [0, 0, 1]


def test_a_label_that_contradicts_the_folder_is_refused(root: Path) -> None:
    write_table(root, ("path", "label"), ("0/a.png", "1"))
    with pytest.raises(TrainingError, match=r"0/a.png lies in the folder of non-COVID.* gives it label 1"):
        read_manifest(root)


def test_a_table_without_the_column_path_is_refused(root: Path) -> None:
    write_table(root, ("file", "group"), ("0/a.png", "p1"))
    with pytest.raises(TrainingError, match=r"no column 'path'. Found: file, group"):
        read_manifest(root)


def test_a_table_in_another_encoding_is_refused_in_words(root: Path) -> None:
    write_table(
        root, ("path", "source"), ("0/a.png", "H\N{LATIN SMALL LETTER O WITH DIAERESIS}pital"), encoding="latin-1"
    )
    with pytest.raises(TrainingError, match=r"metadata\.csv cannot be read: 'utf-8' codec .*Save it as CSV in UTF-8"):
        read_manifest(root)


@pytest.mark.parametrize(
    ("names", "found"),
    [((), "nothing: no such folder"), (("cats/x.png", "dogs/y.png"), "cats, dogs"), (("0/x.png",), "0")],
)
def test_missing_class_folders_are_named(names: tuple[str, ...], found: str, tmp_path: Path) -> None:
    write_images(tmp_path / "data", names)
    with pytest.raises(TrainingError, match=f"'0/' and '1/' or 'non-COVID/' and 'COVID-19/'.*Found: {found}"):
        read_manifest(tmp_path / "data")


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, ("0/x.png", "1/readme.txt"))
    with pytest.raises(TrainingError, match=r"1 holds no images. Put the COVID-19 images there"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "other", ["0/.hidden.png", "0/notes.txt", "0/table.csv", "0/.ipynb_checkpoints/a.png", "0/Thumbs.db", "2/a.png"]
)
def test_hidden_and_other_files_are_ignored(other: str, root: Path) -> None:
    write_images(root, (other,))
    assert [r.path for r in read_manifest(root).records] == list(ROWS)


def test_files_in_subfolders_and_without_suffix_are_read_and_sorted(root: Path) -> None:
    write_images(root, ("1/IM0001", "1/sub/d.PNG", "0/Z.tif"))
    paths = [r.path for r in read_manifest(root).records]
    assert paths == sorted([*ROWS, "1/IM0001", "1/sub/d.PNG", "0/Z.tif"])


def changed_content(root: Path) -> None:
    (root / "0/a.png").write_bytes(b"other")


def changed_name(root: Path) -> None:
    (root / "0/a.png").rename(root / "0/aa.png")


def changed_group(root: Path) -> None:
    write_table(root, ("path", "group"), ("0/a.png", "p7"))


def changed_class(root: Path) -> None:
    (root / "0/a.png").rename(root / "1/a.png")


@pytest.mark.parametrize("change", [changed_content, changed_name, changed_group, changed_class])
def test_the_digest_changes_with(change: object, root: Path) -> None:
    before: Manifest = read_manifest(root)
    assert read_manifest(root).digest == before.digest
    change(root)
    assert read_manifest(root).digest != before.digest


def test_the_digest_does_not_depend_on_the_place(root: Path) -> None:
    before = read_manifest(root).digest
    assert read_manifest(root.rename(root.parent / "moved")).digest == before


@pytest.mark.parametrize("names", [("1/c.png",), ("COVID-19/c.png",)], ids=["by number", "by name"])
def test_a_folder_of_one_class_is_read_where_one_is_enough(names: tuple[str, ...], tmp_path: Path) -> None:
    manifest = read_manifest(write_images(tmp_path, names), both_classes=False)
    assert [(r.path, r.label) for r in manifest.records] == [(names[0], 1)]
    with pytest.raises(TrainingError, match="must hold the class folders"):
        read_manifest(tmp_path)


def test_no_image_at_all_is_refused_also_where_one_class_is_enough(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    with pytest.raises(TrainingError, match="holds no images"):
        read_manifest(tmp_path, both_classes=False)
