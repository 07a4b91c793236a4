import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import training.evaluate
import training.probe.measure
from app.engines import load_engine
from app.errors import TrainingError
from tests.training.fixtures import FinishedRun
from tests.training.tiny import make_data
from training.__main__ import app
from training.alterations import cover_lungs, grey_levels
from training.manifest import Manifest
from training.probe.measure import Probed, probe
from training.probe.write import write_probe
from training.splits import Split, split
from training.squares import load_squares, network_inputs


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)


@pytest.fixture(scope="module")
def parts(finished: FinishedRun) -> Split:
    return split(finished.manifest, finished.config.split_seed)


@pytest.fixture(scope="module")
def probed(finished: FinishedRun) -> Probed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)
        return probe(finished.artifact.path.parent, finished.manifest, "validation", finished.config.split_seed)


def test_images_as_they_are_give_the_figures_of_the_export(probed: Probed, finished: FinishedRun) -> None:
    exported = finished.artifact.metadata.metrics["validation"]["metrics"]
    for name in ("accuracy", "roc_auc", "sensitivity", "specificity"):
        assert probed.measures.metrics[name].value == pytest.approx(exported[name]["value"])


def test_altered_images_are_asked_about_through_the_engine(probed: Probed, finished: FinishedRun, parts: Split) -> None:
    squares = cover_lungs(load_squares(finished.manifest.root, parts.validation, preprocessing=1))
    engine = load_engine("openvino", finished.artifact)
    answers = np.concatenate([engine.infer(images).probabilities[:, 1] for images in network_inputs(squares)])
    right = (answers >= finished.artifact.metadata.threshold) == [r.label == 1 for r in parts.validation]
    covered = probed.measures.altered["lungs covered"]
    assert covered.metrics["accuracy"].value == pytest.approx(right.mean())
    change = covered.metrics["accuracy"].value - probed.measures.metrics["accuracy"].value
    assert covered.differences["accuracy"].value == pytest.approx(change)


def test_grey_levels_are_matched_to_the_train_part(probed: Probed, finished: FinishedRun, parts: Split) -> None:
    wanted = grey_levels(load_squares(finished.manifest.root, parts.train, preprocessing=1))
    matched = probed.alterations["matched grey levels"](probed.squares)
    mean = (wanted * np.arange(256)).sum() / wanted.sum()
    np.testing.assert_allclose(matched.mean(axis=(1, 2)), mean, atol=2)


def test_the_test_part_is_not_looked_at(finished: FinishedRun, parts: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: set[str] = set()

    def load(root: Path, records: Any, *rest: Any, **options: Any) -> Any:
        looked_at.update(record.path for record in records)
        return load_squares(root, records, *rest, **options)

    monkeypatch.setattr(training.probe.measure, "load_squares", load)
    probe(finished.artifact.path, finished.manifest, "validation", finished.config.split_seed)
    assert looked_at == {record.path for record in (*parts.train, *parts.validation)}


def test_the_test_part_is_measured_where_asked_and_the_page_says_so(finished: FinishedRun, tmp_path: Path) -> None:
    probed = probe(finished.artifact.path, finished.manifest, "test", finished.config.split_seed)
    exported = finished.artifact.metadata.metrics["test"]["metrics"]
    assert probed.measures.metrics["roc_auc"].value == pytest.approx(exported["roc_auc"]["value"])
    assert "**The test part:" in write_probe(probed, tmp_path).read_text()


def test_other_data_are_refused(finished: FinishedRun, tmp_path: Path) -> None:
    other = make_data(tmp_path / "data")
    with pytest.raises(TrainingError, match="does not hold the data that"):
        probe(finished.artifact.path, Manifest(other.root, other.records[2:], grouped=True), "validation", 7)


def test_another_split_is_noticed(finished: FinishedRun, tmp_path: Path) -> None:
    model = shutil.copytree(finished.artifact.path, tmp_path / "1")
    metadata = json.loads((model / "assets.extra/metadata.json").read_text())
    metadata["metrics"]["validation"]["metrics"]["roc_auc"]["value"] -= 0.1
    (model / "assets.extra/metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(TrainingError, match=r"the data were split otherwise there\. Give --split-seed"):
        probe(model, finished.manifest, "validation", finished.config.split_seed)


def test_the_figure_shows_a_radiograph_to_the_owner_and_a_drawing_to_others(probed: Probed, tmp_path: Path) -> None:
    pages = {public: write_probe(probed, tmp_path / str(public), public=public) for public in (False, True)}
    pixels = {
        public: np.asarray(Image.open(page.parent / "altered.png").convert("L")) for public, page in pages.items()
    }
    square = probed.squares[0]
    assert _contains(pixels[False], square)
    assert not _contains(pixels[True], square)
    assert "no radiograph" in pages[True].read_text()
    assert "it shows a radiograph" in pages[False].read_text()


def test_no_file_group_or_folder_is_named(probed: Probed, finished: FinishedRun, tmp_path: Path) -> None:
    page = write_probe(probed, tmp_path)
    text = page.read_text() + (tmp_path / "probe.json").read_text()
    names = {name for r in finished.manifest.records for name in (r.path, r.sha256, f'"{r.group}"')}
    assert not [name for name in (*names, str(finished.manifest.root)) if name in text]


def test_the_command_prints_the_page(finished: FinishedRun, tmp_path: Path) -> None:
    options = ["--model", finished.artifact.path, "--data", finished.manifest.root, "--out", tmp_path, "--public"]
    result = CliRunner().invoke(app, ["probe", *map(str, options)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'probe.md'}\n"
    assert json.loads((tmp_path / "probe.json").read_text())["part"] == "validation"


def _contains(page: Any, square: Any) -> bool:
    """Say whether a figure shows a square pixel for pixel."""
    side = len(square)
    rows, columns = np.nonzero(page[: -side + 1, : -side + 1] == square[0, 0])
    return any(np.array_equal(page[y : y + side, x : x + side], square) for y, x in zip(rows, columns, strict=True))
