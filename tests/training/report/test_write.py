import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.evaluate
import training.report.write
from app.errors import TrainingError
from tests.training.made_up_evidence import (
    ROOT,
    answers,
    constant,
    evaluation,
    look,
    model,
    records,
    study,
    unreadable,
)
from tests.training.report.pages import Page
from training.calibration import Calibration
from training.measures import Comparison
from training.report import write_report
from training.report.figures import Charts, Drawn
from training.results import Evidence

TWO = [("original", "VGG16", 7), ("native", "NASNetLarge", 7)]
NO_CHARTS = Charts(None, (), (), None, Drawn("reliability.png", ""))


@pytest.fixture(autouse=True, scope="module")
def _fewer_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 20)
        yield


@dataclass(frozen=True)
class Written:
    """A report's files as text, and its figures."""

    markdown: str
    page: str
    metrics: str
    figures: set[str]
    folder: Path


@dataclass(frozen=True)
class Both:
    """The private report of a study, and the public one that was written over it."""

    evidence: Evidence
    private: Written
    public: Written


def read(folder: Path) -> Written:
    return Written(
        (folder / "report.md").read_text(),
        (folder / "index.html").read_text(),
        (folder / "metrics.json").read_text(),
        {path.name for path in (folder / "figures").iterdir()},
        folder,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    evidence = study(96, TWO, look=look)
    manifest = replace(evidence.manifest, skipped=(unreadable(70), unreadable(80)))
    environment = {**evidence.environment, "run folder": f"{ROOT}/../runs"}
    evidence = replace(evidence, manifest=manifest, environment=environment, limit=96)
    folder = tmp_path_factory.mktemp("report")
    assert write_report(evidence, folder) == folder / "index.html"
    private = read(folder)
    write_report(evidence, folder, public=True)
    return Both(evidence, private, read(folder))


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a report without its figures, which take longer than all else, and return the Markdown."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/reliability.png").touch()
    monkeypatch.setattr(training.report.write, "draw_charts", lambda *_: NO_CHARTS)
    monkeypatch.setattr(training.report.write, "_remove_earlier", lambda _: None)

    def write(evidence: Evidence, **options: Any) -> str:
        write_report(evidence, tmp_path, **options)
        return (tmp_path / "report.md").read_text()

    return write


def test_every_section_of_a_study_has_content(both: Both) -> None:
    for markdown in (both.private.markdown, both.public.markdown):
        sections = re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]
        assert all(len(section.split("\n", 1)[1].strip()) > 20 for section in sections)
    titles = re.findall(r"^## (.*)$", both.private.markdown, re.MULTILINE)
    assert titles == [
        "What to know first",
        "Comparison",
        "What the original study reported",
        "Differences between the models",
        "Answers by class",
        "ROC and precision-recall curves",
        "Calibration",
        "Predictive values",
        "By source",
        "Answers to random images",
        "Where the network looked",
        "Training",
        "Data",
        "Structure of native/NASNetLarge/7",
        "Environment and command",
    ]


def test_research_use_only_stands_at_the_top(both: Both) -> None:
    for written in (both.private, both.public):
        assert written.markdown.split("\n")[2].startswith("**Research use only: never a diagnosis.**")


def test_the_page_loads_nothing_and_holds_every_figure(both: Both) -> None:
    for written in (both.private, both.public):
        page = Page(written.page)
        assert len(page.images) == len(written.figures) == len(re.findall(r"^!\[", written.markdown, re.MULTILINE))
        assert all(source.startswith("data:image/png;base64,iVBOR") and alt for source, alt in page.images)
        assert all(address.startswith("data:") for address in page.loaded)
        assert all(address.startswith("#") for address in page.links)
        assert not page.elements & {"script", "link", "iframe", "object", "base"}


def test_page_and_markdown_say_the_same(both: Both) -> None:
    page = " ".join(Page(both.private.page).text.split())
    rows = [line for line in both.private.markdown.splitlines() if line.startswith("| ") and "---" not in line]
    for row in rows:
        assert " ".join(row.replace("**", "").replace("|", " ").split()) in page


def test_the_private_report_shows_images_and_names_files(both: Both) -> None:
    assert {"predictions.png", "grad_cam.png"} <= both.private.figures
    for fault in both.evidence.manifest.skipped:
        assert f"- {fault.record.path}" in both.private.markdown
    shown = re.findall(r"^\| \d+ \| (\d/shot-\d+\.png) \|", both.private.markdown, re.MULTILINE)
    assert set(shown) <= {record.path for record in both.evidence.models[0].parts["test"].records}
    assert len(shown) >= 4


def test_the_public_report_shows_no_image_and_names_nobody(both: Both) -> None:
    assert both.private.figures - both.public.figures == {"predictions.png", "grad_cam.png"}
    manifest = both.evidence.manifest
    known = [*manifest.records, *(fault.record for fault in manifest.skipped)]
    outputs = [path.read_bytes() for path in both.public.folder.rglob("*") if path.is_file()]
    for secret in {part for record in known for part in (record.path, record.group, record.sha256)} | {str(ROOT)}:
        assert not any(secret.encode() in output for output in outputs)
    assert f"`{manifest.digest}`" in both.public.markdown
    assert "2 images cannot be read and were left out (2 non-COVID, 0 COVID-19; corrupt image 2)." in (
        both.public.markdown
    )


def test_the_numbers_are_those_of_the_file(both: Both) -> None:
    comparison = Comparison.model_validate_json(both.public.metrics)
    assert json.loads(both.private.metrics)["models"] == json.loads(both.public.metrics)["models"]
    best = comparison.chosen.parts["test"].metrics["roc_auc"]
    assert f"ROC AUC {best.value:.3f} ({best.low:.3f} to {best.high:.3f})." in both.public.markdown


def test_figures_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("mine.png", "grad_cam.png", "curves-9.png"):
        (tmp_path / "figures" / name).touch()
    write_report(evaluation(records(24)), tmp_path)
    assert read(tmp_path).figures == {"mine.png", "confusion-1.png", "ranking.png", "reliability.png"}


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("python -m training study --data xrays --seed 7", "python -m training study --data FOLDER --seed 7"),
        ("x --data=/a/b --out runs/mrs-smith -v", "x --data=FOLDER --out FOLDER -v"),
        ("x --data 'our patients' --model 'C:\\m'", "x --data FOLDER --model FOLDER"),
        ("x --out mrs-smith --models=ward9 --limit 9", "x --out FOLDER --models=FOLDER --limit 9"),
        ("x --weights ward9.h5 --recipe smith.toml", "x --weights FOLDER --recipe FOLDER"),
        ("x --weights random --recipe native", "x --weights random --recipe native"),
        ("x --data o'brien", "Not shown: it names folders."),
    ],
)
def test_the_public_command_names_no_folder(command: str, shown: str, text: Any) -> None:
    evidence = replace(evaluation(records(24)), command=command)
    assert f"\n{shown}\n```" in text(evidence, public=True)
    assert f"\n{command}\n```" in text(evidence)


def test_a_folder_of_a_short_name_takes_nothing_else_away(text: Any) -> None:
    evidence = evaluation(records(24))
    here = replace(evidence, manifest=replace(evidence.manifest, root=Path()), command="x --data .")
    markdown = text(here, public=True)
    assert "| python | 3.11.9 |" in markdown
    assert "\nx --data FOLDER\n" in markdown


def test_the_original_study_s_figures_are_labelled_as_its_own(both: Both) -> None:
    markdown = both.private.markdown
    header = next(line for line in markdown.splitlines() if line.startswith("| model | parameters"))
    assert header.endswith("| original study: README | original study: notebook |")
    assert "| 0.9289 | 0.9661 after stage 1, 0.9289 after stage 2 |" in markdown
    assert "on its own data and its own split by image" in markdown
    assert "not comparable like with like" in markdown
    assert "answered one class for every image" in markdown


def test_an_evaluation_has_no_empty_section_and_no_word_of_the_study(text: Any) -> None:
    markdown = text(evaluation(records(24)))
    titles = re.findall(r"^## (.*)$", markdown, re.MULTILINE)
    assert titles == [
        "What to know first",
        "Results",
        "Answers by class",
        "ROC and precision-recall curves",
        "Calibration",
        "Predictive values",
        "By source",
        "Data",
        "Environment and command",
    ]
    assert "0.9289" not in markdown
    assert "winner" not in markdown
    assert "There is no split: all 24 images were measured." in markdown


@pytest.mark.parametrize(
    ("probability", "sentences"),
    [
        (
            0.9,
            [
                "**shipped/NASNetMobile answers COVID-19 for every one of the 36 images** at its threshold of 0.450 "
                "and where the larger uncalibrated probability wins: its accuracy of 0.333 there is the share of that "
                "class and shows no skill."
            ],
        ),
        (
            0.47,
            [
                "**shipped/NASNetMobile answers non-COVID for every one of the 36 images** where the larger "
                "uncalibrated probability wins: its accuracy of 0.667 there is the share of that class and shows no "
                "skill.",
                "**shipped/NASNetMobile answers COVID-19 for every one of the 36 images** at its threshold of 0.450: "
                "its accuracy of 0.333 there is the share of that class and shows no skill.",
            ],
        ),
    ],
)
def test_a_model_that_answers_one_class_is_named_in_a_plain_sentence(
    probability: float, sentences: list[str], text: Any
) -> None:
    of = [record for record in records(48) if not record.label or int(record.path[-6:-4]) < 24]
    markdown = text(evaluation(of, constant(of, probability)))
    assert [line for line in markdown.splitlines() if "for every one of" in line] == [f"- {one}" for one in sentences]


def test_a_collapsed_model_of_a_study_is_named_and_the_others_are_not(text: Any) -> None:
    evidence = study(96, TWO)
    test = evidence.models[0].parts["test"].records
    parts = {**evidence.models[0].parts, "test": constant(test, 0.2)}
    markdown = text(replace(evidence, models=(replace(evidence.models[0], parts=parts), evidence.models[1])))
    (line,) = [line for line in markdown.splitlines() if "for every one of" in line]
    assert line.startswith("- **original/VGG16/7 answers non-COVID for every one of the 24 test images**")


def test_a_suspiciously_good_model_is_a_warning(text: Any) -> None:
    of = records(48)
    labels = np.array([record.label for record in of])
    good = replace(constant(of, 0.5), probabilities=(0.1 + 0.8 * labels).astype(np.float32))
    warning = "**Suspiciously good:** a ROC AUC above 0.97 (shipped/NASNetMobile 1.000) is a warning"
    assert warning in text(evaluation(of, good))
    assert "Suspiciously" not in text(evaluation(of, answers(of, 1, skill=0.1)))


def test_the_auc_within_a_source_of_both_classes_is_the_honest_one(text: Any) -> None:
    markdown = text(evaluation(records(48)))
    assert re.search(r"The honest figure is the AUC .* both classes: 0\.\d+ \(.*\) in both \(12 non-COVID", markdown)
    assert "| only 0 | 12 | 0 | not estimable | " in markdown
    assert "No source holds both classes" in text(evaluation(records(48, sources=["only {label}"])))
    few = [record for record in records(48) if record.source != "both" or record.path < "0/shot-0012"]
    assert "both classes: too few images in both (4 non-COVID" in text(evaluation([*few, records(2)[1]]))
    unknown = text(evaluation(records(48, sources=[""])))
    assert "Sources are not known" in unknown
    assert "## By source" not in unknown


def test_a_missing_class_is_said(text: Any) -> None:
    markdown = text(evaluation([record for record in records(48) if record.label]))
    assert "**No non-COVID image is among the images:**" in markdown
    assert "ROC AUC and average precision are not estimable: a class is missing." in markdown
    assert "## Predictive values" not in markdown


def test_few_images_are_said(text: Any) -> None:
    assert "**Few images:** the images hold 2 non-COVID and 1 COVID-19 groups." in text(evaluation(records(5)))
    assert "Few images" not in text(evaluation(records(48)))


def test_the_prevalence_is_a_parameter_and_said(text: Any) -> None:
    evidence = evaluation(records(24))
    assert "If 10% of those examined had COVID-19" in text(evidence)
    assert "If 2.5% of those examined had COVID-19" in text(evidence, prevalence=0.025)
    with pytest.raises(TrainingError, match="The prevalence is 1"):
        text(evidence, prevalence=1)


def test_trivial_rules_stand_beside_the_models(text: Any) -> None:
    rules = {"not_square": {"accuracy": 0.999, "roc_auc": float("nan")}}
    evidence = replace(evaluation(records(24)), trivial_rules=rules)
    markdown = text(evidence)
    assert "| rule: not square |  |  | 0.999 | not estimable |" in markdown
    assert '**No better than a trivial rule.** A rule that knows only "not square" is right for 99.9%' in markdown
    assert "fitted on the same images, which favours the rule" in markdown
    rules["not_square"]["accuracy"] = 0.5
    assert "No better than" not in text(evidence)


def test_the_split_the_limit_and_the_winner_s_rule_are_said(text: Any) -> None:
    evidence = study(96, TWO)
    markdown = text(evidence)
    assert "The split is by group, known for every image: no group is in two parts." in markdown
    assert "How it was chosen: the highest ROC AUC on validation." in markdown
    assert "Youden's J on validation, after bias-corrected temperature scaling there." in markdown
    assert "--limit" not in markdown
    of = [replace(record, group=record.path) for record in evidence.manifest.records]
    by_image = replace(evidence, manifest=replace(evidence.manifest, records=tuple(of), grouped=False), limit=90)
    markdown = text(by_image)
    assert "**The split is by image:**" in markdown
    assert "**The data were limited to 96 images (`--limit`):**" in markdown
    mixed = replace(by_image, manifest=replace(evidence.manifest, records=(*evidence.manifest.records[:9], *of[9:])))
    assert "The split is by group for 9 of 96 images." in text(mixed)


def test_names_that_others_chose_cannot_become_markup(text: Any, tmp_path: Path) -> None:
    alone = replace(evaluation(records(24)).models[0], recipe="<b>|*own*")
    text(replace(evaluation(records(24)), models=(alone,), title="<script>1</script>"))
    page = Page((tmp_path / "index.html").read_text())
    assert not page.elements & {"b", "script", "em"}
    assert "<b>|*own*/NASNetMobile" in page.text


def test_several_seeds_have_a_section(text: Any) -> None:
    names = [("native", "VGG16", 1), ("native", "VGG16", 2)]
    assert "| native | VGG16 | 1, 2 | ROC AUC | " in text(study(96, names))


def test_time_speed_and_kept_epochs_are_told(text: Any) -> None:
    evidence = study(96, TWO)
    markdown = text(evidence)
    assert re.search(
        r"^\| native/NASNetLarge/7 \| 2 \| 224 \| 8 \| \d+ \(by val_accuracy\) \|.* 40\.0 \|$", markdown, re.M
    )
    assert "All trainings together took 24 min 40 s." in markdown
    assert "| native/NASNetLarge/7 | imagenet | native | float32 | float32 | as Keras decides |" in markdown
    bare = model("native", "VGG16", 7, evidence.models[0].parts, timings=())
    assert "| not known | not known |" in text(replace(evidence, models=(bare,), winner=0))


def test_recipes_are_told_in_words_once_for_the_backbones_that_share_them(text: Any) -> None:
    markdown = text(study(96, (("native", "VGG16", 7), ("native", "ResNet50", 7))))
    assert len(re.findall(r"^- Recipe native, VGG16, ResNet50, stage \d: At most \d+ epochs, ", markdown, re.M)) == 2


def test_random_weights_are_a_warning(text: Any) -> None:
    evidence = study(96, TWO)
    scratch = [replace(model, config=model.run.model_copy(update={"weights": "random"})) for model in evidence.models]
    assert "**Trained from random weights" not in text(evidence)
    assert f"**Trained from random weights, without ImageNet:** {scratch[0].name}, {scratch[1].name}." in text(
        replace(evidence, models=tuple(scratch))
    )


def test_a_temperature_at_the_end_of_what_is_tried_is_said(text: Any) -> None:
    evidence = study(96, TWO)
    assert "At an end of what was tried" not in text(evidence)
    flat = replace(evidence.models[0], calibration=Calibration(19.99))
    assert f"At an end of what was tried (0.05 to 20): {flat.name} 20. " in text(
        replace(evidence, models=(flat, *evidence.models[1:]))
    )
