from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import training.report.gallery
from tests.training.made_up_evidence import SIDE, answers, constant, look, model, records
from training.manifest import Record
from training.report.gallery import CASES, RANDOM_IMAGES, RIGHT, WRONG, Case, choose_cases, draw_gallery
from training.results import Answers


def case(index: int, label: int, probability: float) -> Case:
    return Case(index, Record(f"{index}.png", label, f"g{index}", "", "", ""), probability, int(probability >= 0.45))


def test_the_worst_wrong_cases_are_shown_and_right_ones_of_both_classes() -> None:
    right = [case(i, i % 2, 0.1 + 0.8 * (i % 2)) for i in range(20)]
    wrong = [case(20, 0, 0.5), case(21, 1, 0.01), case(22, 0, 0.98), case(23, 1, 0.4), case(24, 0, 0.9)]
    chosen = choose_cases(right + wrong)
    assert [of.index for of in chosen if not of.right] == [21, 22, 24, 23]  # .99, .98, .9, .6 from the label
    assert sorted(of.record.label for of in chosen if of.right) == [0, 0, 1, 1]
    assert chosen == choose_cases(right + wrong)


def test_few_and_one_sided_cases_do_not_matter() -> None:
    assert choose_cases([case(0, 1, 0.9)]) == [case(0, 1, 0.9)]
    assert choose_cases([case(0, 1, 0.1)]) == [case(0, 1, 0.1)]


@pytest.mark.parametrize("count", [60, 3])
def test_random_answers_are_captioned_and_coloured(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def record(squares: np.ndarray, captions: list[str], colours: list[str], title: str, path: Path) -> None:
        drawn.update(squares=squares, captions=captions, colours=colours, title=title)

    monkeypatch.setattr(training.report.gallery, "draw_captioned", record)
    monkeypatch.setattr(training.report.gallery, "_draw_heatmaps", lambda *_: None)
    of = records(count)
    given = answers(of, 3)
    draw_gallery(model("native", "VGG16", 7, {"test": given}), "test", look, tmp_path)
    names = ("non-COVID", "COVID-19")
    assert len(drawn["captions"]) == min(count, RANDOM_IMAGES)
    for caption, colour, square in zip(drawn["captions"], drawn["colours"], drawn["squares"], strict=True):
        index = int(caption.split(" ")[0].removeprefix("I="))
        predicted, label = int(given.probabilities[index] >= 0.45), of[index].label
        assert caption == f"I={index} | P={names[predicted]} | L={names[label]}"
        assert colour == (RIGHT if predicted == label else WRONG)
        assert (square == look([of[index]])[0][0]).all()


@pytest.mark.parametrize("count", [40, 1])
def test_both_figures_are_drawn_and_repeat(count: int, tmp_path: Path) -> None:
    of = records(count)
    trained = model("native", "VGG16", 7, {"all": answers(of, 3)})
    gallery = draw_gallery(trained, "all", look, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first.keys() == {gallery.predictions.file, gallery.grad_cam.file}
    draw_gallery(trained, "all", look, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert len(gallery.cases) <= 2 * CASES


def test_the_heatmap_colours_what_it_covers(tmp_path: Path) -> None:
    of = records(8)

    def look_right(some: Any) -> tuple[np.ndarray, np.ndarray]:
        heatmaps = np.zeros((len(some), 7, 7), np.float32)
        heatmaps[:, :, 5:] = 1
        return np.full((len(some), SIDE, SIDE), 128, np.uint8), heatmaps

    trained = model("native", "VGG16", 7, {"test": Answers(of, constant(of, 0.9).probabilities)})
    draw_gallery(trained, "test", look_right, tmp_path)
    pixels = np.asarray(Image.open(tmp_path / "grad_cam.png").convert("RGB")).astype(int)
    quarter = pixels.shape[1] // 4
    row = pixels[pixels.shape[0] // 8 + 20]
    coloured = np.abs(row - row.mean(axis=1, keepdims=True)).max(axis=1) > 20
    assert not coloured[:quarter].any()  # the plain square
    assert not coloured[quarter : quarter + quarter // 3].any()  # no heat
    assert coloured[2 * quarter - quarter // 5 : 2 * quarter - 10].mean() > 0.8
