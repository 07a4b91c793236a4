"""One page that a clinician can read: what stands on it, for good figures, bad ones, one class, and a handful."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.evaluate
from tests.training.made_up_evidence import ROOT, answers, constant, evaluation, records, unreadable
from tests.training.report.pages import Page
from training.manifest import Manifest, Record
from training.results import Answers, Evidence
from training.summary import write_summary
from training.summary.conclusion import CONCLUSIONS, STUDY

RULES = {"not_square": {"accuracy": 0.62, "roc_auc": 0.6}, "contrast": {"accuracy": 0.55, "roc_auc": 0.52}}


@pytest.fixture(autouse=True)
def fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", 100)


def hospital(count: int) -> tuple[Record, ...]:
    """Make images of one hospital with view, age and sex, two a patient."""
    of = records(count, sources=("our hospital",))
    return tuple(
        replace(r, view=("AP", "PA")[i // 2 % 2], age=str(20 + 7 * i % 70), sex="FM"[i // 4 % 2])
        for i, r in enumerate(of)
    )


def summary(evidence: Evidence, out: Path, *prevalences: float) -> str:
    """Write a summary and return its Markdown."""
    page = write_summary(evidence, out, prevalences or (0.02, 0.1))
    assert page == out / "summary.html"
    return (out / "summary.md").read_text()


def good(**changes: Any) -> Evidence:
    of = hospital(600)
    return evaluation(of, answers(of, 5, 0.33), trivial_rules=RULES, **changes)


def exactly(of: tuple[Record, ...], found: float, cleared: float) -> Answers:
    """Answer so that a share of each class is right at the threshold of 0.45, by patient."""
    probabilities = np.empty(len(of), np.float32)
    for label, share in ((0, cleared), (1, found)):
        here = [i for i, record in enumerate(of) if record.label == label]
        right = round(share * len(here))
        for number, i in enumerate(here):
            says = label if number < right else 1 - label
            probabilities[i] = 0.7 if says else 0.2
    return Answers(of, probabilities)


def test_shares_are_told_as_so_many_of_100_with_a_range(tmp_path: Path) -> None:
    of = hospital(400)
    text = summary(evaluation(of, exactly(of, 0.83, 0.91)), tmp_path)
    found = re.search(r"with COVID-19 like these it would call about 83 \((\d+) to (\d+)\) COVID-19 and miss", text)
    cleared = re.search(r"without COVID-19 it would call about 91 \((\d+) to (\d+)\) not COVID-19", text)
    assert found
    assert cleared
    assert 70 < int(found[1]) < 83 < int(found[2]) < 95
    assert 80 < int(cleared[1]) < 91 < int(cleared[2]) < 99
    assert "guessing does in 50" in text


def test_what_an_answer_is_worth_follows_the_stated_prevalence(tmp_path: Path) -> None:
    """Of 1,000 with 20 ill, 16.6 found and 88.2 false alarms: 105 called, 16 of 100 so called ill."""
    of = hospital(400)
    text = summary(evaluation(of, exactly(of, 0.83, 0.91)), tmp_path, 0.02, 0.5)
    assert re.search(r"\| 20 \(2 %\) \| 105 \| 16 \(\d+ to \d+\) \| 3 \| over 99 \(", text)
    assert re.search(r"\| 500 \(50 %\) \| 460 \| 90 \(\d+ to \d+\) \| 85 \| 84 \(", text)
    stated = json.loads((tmp_path / "summary.json").read_text())["figures"]["at_prevalences"]
    assert [of["prevalence"] for of in stated] == [0.02, 0.5]


def test_it_says_what_was_measured_and_what_was_left_out(tmp_path: Path) -> None:
    of = hospital(600)
    manifest = Manifest(ROOT, of, True, (unreadable(3), unreadable(5)))
    text = summary(good(manifest=manifest, refused={"non-COVID": 3, "COVID-19": 1}), tmp_path)
    assert "600 chest X-rays: 300 from 150 patients with COVID-19, and 300 from 150 patients without COVID-19." in text
    assert "2 more could not be read and are left out (0 with COVID-19, 2 without COVID-19)." in text
    assert "refused 4 more as no frontal chest X-ray (1 with COVID-19, 3 without COVID-19)" in text
    assert "has no check" not in text
    without = summary(good(), tmp_path)
    assert "All images could be read. The model has no check of what an image shows: it answers any." in without


def test_it_ends_in_a_conclusion_and_is_never_a_diagnosis(tmp_path: Path) -> None:
    text = summary(good(), tmp_path)
    assert text.index("Research only: no diagnosis.") < text.index("## Conclusion") < text.index(STUDY)
    assert "| only: not square | 62 % | 0.60 |" in text
    assert "| always the more frequent answer | 50 % | 0.50 |" in text
    assert "| view: AP | 150 | " in text
    assert "| sex: F | 150 | " in text
    assert "source:" not in text  # One source holds all images: the row would repeat the whole.
    assert re.search(r"\| it said, of 100 \|( \d+ \|)+", text)


def test_bad_figures_are_called_that(tmp_path: Path) -> None:
    of = hospital(400)
    text = summary(evaluation(of, answers(of, 5, 0.0), trivial_rules=RULES), tmp_path)
    assert f"**{CONCLUSIONS['no use']}**" in text
    assert "cannot be told from guessing" in text


def test_one_class_alone_is_measured_as_far_as_it_goes(tmp_path: Path) -> None:
    of = tuple(record for record in hospital(400) if record.label == 1)
    text = summary(evaluation(of, answers(of, 5)), tmp_path)
    assert f"**{CONCLUSIONS['cannot tell']}**" in text
    assert "like these it would call about" in text
    assert "and none of patients without COVID-19." in text
    for missing in ("specificity", "ROC AUC", "Beside rules", "as frequent as stated", "probabilities mean"):
        assert missing not in text


@pytest.mark.parametrize("count", [2, 4, 12])
def test_a_handful_of_images_says_next_to_nothing(count: int, tmp_path: Path) -> None:
    of = tuple(replace(record, group=record.path) for record in records(count))
    text = summary(evaluation(of, exactly(of, 1.0, 1.0)), tmp_path)
    assert f"**{CONCLUSIONS['cannot tell']}**" in text
    assert "of patients with COVID-19, and" in text  # Patients are not stated.
    found = re.search(r"it would call about 100 \((\d+) to 100\) COVID-19", text)
    assert found
    assert int(found[1]) < 55  # Never "100 (100 to 100)": all of six are right also where half would be.


def test_all_right_leaves_room_for_doubt(tmp_path: Path) -> None:
    """150 of 150 patients: at least 98 of 100, exactly (binomial)."""
    of = hospital(600)
    text = summary(evaluation(of, exactly(of, 1.0, 0.9)), tmp_path, 0.02)
    assert "call about 100 (98 to 100) COVID-19" in text


def test_data_of_the_training_are_no_evaluation(tmp_path: Path) -> None:
    text = summary(good(seen_images=300), tmp_path)
    assert f"**{CONCLUSIONS['cannot tell']}**" in text
    assert "300 of these 600 images the model was trained on: new ones" in text


def test_the_page_loads_nothing_and_shows_nobody(tmp_path: Path) -> None:
    summary(good(command=f"python -m training evaluate --data {ROOT}"), tmp_path)
    html = (tmp_path / "summary.html").read_text()
    page = Page(html)
    assert page.loaded == []
    assert "default-src 'none'" in html
    assert "@media print" in html
    assert "prefers-color-scheme: dark" in html
    for path in tmp_path.iterdir():
        content = path.read_text()
        assert "patient-1" not in content
        assert "shot-" not in content
        assert str(ROOT) not in content


def test_names_from_a_table_are_text(tmp_path: Path) -> None:
    of = tuple(replace(r, source="<b>north</b> | *ward*" if i % 8 < 4 else "south") for i, r in enumerate(hospital(80)))
    summary(evaluation(of, answers(of, 5)), tmp_path)
    page = Page((tmp_path / "summary.html").read_text())
    assert "b" not in page.elements
    assert "source: <b>north</b> | *ward*" in page.text


def longest() -> Evidence:
    """Make evidence for which nearly every rule holds, and every row is there."""
    of = tuple(
        replace(
            record,
            source=f"a rather long name of one of the sources, number {i // 2 % 3}, of class {record.label}",
            view=("AP", "PA", "AP supine", "frontal, not stated")[i // 2 % 4],
            age=str(10 + 7 * i % 85),
            sex=("F", "M", "")[i // 3 % 3],
            group=record.path if i % 5 else record.group,
        )
        for i, record in enumerate(records(90))
    )
    given = Answers(of, np.linspace(0.9, 0.99, 90, dtype=np.float32)[np.argsort([r.label for r in of]).argsort()])
    return evaluation(
        of,
        given,
        trivial_rules={**RULES, "mean_brightness": {"accuracy": 1.0, "roc_auc": 1.0}},
        manifest=Manifest(ROOT, of, False, (unreadable(3), unreadable(5))),
        refused={"non-COVID": 30, "COVID-19": 22},
        seen_images=90,
    )


def no_skill() -> Evidence:
    of = hospital(300)
    return evaluation(of, constant(of, 0.3), trivial_rules=RULES)


@pytest.mark.parametrize("evidence", [good, longest, no_skill])
def test_it_prints_on_one_page_of_a4(evidence: Callable[[], Evidence], tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is missing; Debian: apt-get install --no-install-recommends chromium")
    page = write_summary(evidence(), tmp_path, (0.001, 0.01, 0.1, 0.3))
    pdf = tmp_path / "summary.pdf"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", f"--print-to-pdf={pdf}"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    subprocess.run([chromium, *options, profile, page.as_uri()], capture_output=True, check=True, timeout=120)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) == 1
