from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training.evaluate
from tests.training.made_up_evidence import evaluation, history, records, study
from training.comparison import measure
from training.report.figures import FILES, draw_charts, draw_confusion, draw_curves, draw_ranking
from training.results import Evidence

TWO = [("original", "VGG16", 7), ("native", "VGG16", 7)]


@pytest.fixture(autouse=True)
def _fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)


def draw(evidence: Evidence, folder: Path) -> set[str]:
    draw_charts(evidence.models, measure(evidence), folder)
    return {path.name for path in folder.iterdir()}


def test_every_chart_of_a_study_is_drawn_under_a_known_name(tmp_path: Path) -> None:
    names = draw(study(96, TWO), tmp_path)
    assert names == {
        *(f"{kind}-{number}.png" for kind in ("curves", "confusion") for number in (1, 2)),
        *("intervals.png", "ranking.png", "reliability.png"),
    }
    assert all(any(fnmatch(name, pattern) for pattern in FILES) for name in names)


def test_what_an_evaluation_cannot_show_is_not_drawn(tmp_path: Path) -> None:
    assert draw(evaluation(records(48)), tmp_path / "both") == {"confusion-1.png", "ranking.png", "reliability.png"}
    single = evaluation([record for record in records(48) if record.label])
    assert draw(single, tmp_path / "single") == {"confusion-1.png", "reliability.png"}


def test_equal_figures_give_equal_files(tmp_path: Path) -> None:
    evidence = study(96, TWO)
    comparison = measure(evidence)
    files = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        draw_ranking(evidence.models, comparison, folder)
        files.append((folder / "ranking.png").read_bytes())
    assert files[0] == files[1]


def test_the_confusion_matrix_has_the_true_class_down_and_the_answer_across(tmp_path: Path) -> None:
    comparison = measure(evaluation(records(48)))
    part = comparison.chosen.parts["all"].model_copy(update={"confusion": [[0, 9], [0, 9]]})  # all called COVID-19
    draw_confusion(comparison.chosen.model_copy(update={"parts": {"all": part}}), "all", tmp_path / "matrix.png")
    pixels = np.asarray(Image.open(tmp_path / "matrix.png").convert("RGB")).astype(int)
    dark = np.argwhere(np.abs(pixels - (8, 48, 107)).sum(axis=2) < 30)  # the colour map's end
    left = dark[dark[:, 1] < pixels.shape[1] // 2]
    height, width = np.ptp(left[:, 0]), np.ptp(left[:, 1])
    assert height == pytest.approx(2 * width, rel=0.1)  # the right column of two rows


@pytest.mark.parametrize("epochs", [[1], [2, 1], [3, 3, 3]])
def test_curves_of_any_number_of_stages(epochs: list[int], tmp_path: Path) -> None:
    trained = study(96, TWO).models[0]
    for config in (trained.config, None):
        changed = replace(trained, history=history(1, epochs), config=config)
        drawn = draw_curves(changed, tmp_path / "curves.png")
        assert (tmp_path / drawn.file).read_bytes().startswith(b"\x89PNG")
