"""Each rule of a conclusion, and which one prevails."""

from typing import Any

import pytest

from training.breakdown import SUSPICIOUS_AUC
from training.manifest import LABELS
from training.measures import Estimate
from training.summary.conclusion import CONCLUSIONS, ENOUGH_PATIENTS, STUDY, conclude
from training.summary.figures import FEWEST_PATIENTS, Figures, Row

NEGATIVE, POSITIVE = LABELS


def about(value: float, width: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width)


def counts(negative: int, positive: int) -> dict[str, int]:
    return {NEGATIVE: negative, POSITIVE: positive}


def figures(**changes: Any) -> Figures:
    """Make figures that nothing speaks against."""
    given: dict[str, Any] = {
        "title": "Evaluation",
        "digest": "0" * 64,
        "threshold": 0.4,
        "images": counts(200, 200),
        "patients": counts(150, 150),
        "images_with_patient": 400,
        "skipped": counts(0, 0),
        "refused": None,
        "seen_images": 0,
        "only_answer": None,
        "sensitivity": about(0.8),
        "specificity": about(0.85),
        "roc_auc": about(0.9, 0.03),
        "accuracy": about(0.82),
        "larger_class_share": 0.5,
        "rules": {"contrast": {"accuracy": 0.6, "roc_auc": 0.65}},
        "calibration_error": about(0.04, 0.02),
        "bins": [],
        "at_prevalences": [],
        "rows": [],
    }
    return Figures.model_validate(given | changes)


def row(of: str, value: str, negative: int, positive: int, **changes: Any) -> Row:
    given = {"sensitivity": about(0.8), "specificity": about(0.85)}
    images = counts(negative, positive)
    return Row.model_validate({"of": of, "value": value, "images": images, "patients": images, **given, **changes})


def test_figures_that_nothing_speaks_against_support_a_study_and_never_care() -> None:
    conclusion = conclude(figures())
    assert conclusion.text == STUDY
    assert "no use in care" in STUDY
    assert conclusion.reasons == []


ONE_SOURCE_EACH = [row("source", "north", 200, 0), row("source", "south", 0, 200)]

CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"seen_images": 5}, "cannot tell", "5 of these 400 images the model was trained on"),
    (
        {"images": counts(0, 200), "patients": counts(0, 150), "images_with_patient": 200},
        "cannot tell",
        "No image of a patient without",
    ),
    ({"patients": counts(150, FEWEST_PATIENTS - 1)}, "cannot tell", "Only 9 patients with COVID-19"),
    ({"patients": counts(1, 150)}, "cannot tell", "Only 1 patient without COVID-19"),
    ({"rows": ONE_SOURCE_EACH}, "cannot tell", "come from different sources"),
    ({"only_answer": POSITIVE}, "no use", 'It says "COVID-19" to every image'),
    ({"rules": {}, "roc_auc": Estimate(value=0.6, low=0.5, high=0.7)}, "no use", "cannot be told from guessing"),
    ({"rules": {}, "roc_auc": Estimate(value=0.3, low=0.2, high=0.4)}, "no use", "cannot be told from guessing"),
    ({"sensitivity": about(0.95), "specificity": about(0.1, 0.1)}, "no use", "no better than a draw by lot"),
    ({"rules": {"not_square": {"accuracy": 0.9, "roc_auc": 0.88}}}, "no use", 'than a rule that looks at "not square"'),
    ({"roc_auc": about(SUSPICIOUS_AUC + 0.005, 0.001)}, "doubt", "above 0.97, is rarely true"),
    ({"patients": counts(ENOUGH_PATIENTS - 1, 150)}, "more images", "Few patients: 99 without COVID-19."),
]


@pytest.mark.parametrize(
    ("changes", "kind", "reason"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_rule_that_holds_decides_and_says_why(changes: dict[str, Any], kind: Any, reason: str) -> None:
    conclusion = conclude(figures(**changes))
    assert conclusion.text == CONCLUSIONS[kind]
    assert [of.kind for of in conclusion.reasons] == [kind]
    assert reason in conclusion.reasons[0].text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seen_images": 4}, "4 of these 400 images the model was trained on."),
        ({"images_with_patient": 390}, "For 10 images the patient is not stated"),
        ({"calibration_error": about(0.12)}, "off by 12 points of 100"),
        ({"refused": counts(30, 20)}, "refused 50 images"),
        ({"rows": [row("view", "AP", 50, 50, sensitivity=about(0.5))]}, "worse than on the whole for: view AP."),
        ({"rows": [row("sex", "F", 50, 50, specificity=about(0.5))]}, "worse than on the whole for: sex F."),
    ],
    ids=["seen", "patients", "calibration", "gate", "view", "sex"],
)
def test_a_caution_stands_beside_any_conclusion_and_changes_none(changes: dict[str, Any], reason: str) -> None:
    conclusion = conclude(figures(**changes))
    assert conclusion.text == STUDY
    assert [of.kind for of in conclusion.reasons] == ["caution"]
    assert reason in conclusion.reasons[0].text


@pytest.mark.parametrize(
    "changes",
    [
        {"refused": counts(20, 20)},
        {"calibration_error": about(0.07, 0.03)},
        {"rows": [row("view", "AP", 50, FEWEST_PATIENTS - 1, sensitivity=about(0.2))]},
        {"rows": [row("source", "north", 100, 100), row("source", "south", 0, 100)]},
        {"rows": [row("source", "not stated", 200, 0), row("source", "south", 5, 200)]},
        {"patients": counts(ENOUGH_PATIENTS, ENOUGH_PATIENTS)},
    ],
    ids=[
        "few refused",
        "maybe calibrated",
        "few patients in a row",
        "a shared source",
        "unknown source",
        "just enough",
    ],
)
def test_what_is_just_within_a_limit_is_not_held_against_the_model(changes: dict[str, Any]) -> None:
    assert conclude(figures(**changes)).reasons == []


def test_the_gravest_reason_decides_and_all_are_said() -> None:
    conclusion = conclude(
        figures(seen_images=400, roc_auc=about(0.5), patients=counts(50, 150), calibration_error=about(0.3))
    )
    assert conclusion.text == CONCLUSIONS["cannot tell"]
    assert {of.kind for of in conclusion.reasons} == {"cannot tell", "no use", "more images", "caution"}
    milder = conclude(figures(roc_auc=about(0.5), patients=counts(50, 150)))
    assert milder.text == CONCLUSIONS["no use"]


def test_many_worse_rows_are_counted_and_not_all_named() -> None:
    rows = [row("source", f"ward {number}", 30, 30, sensitivity=about(0.4)) for number in range(5)]
    [reason] = conclude(figures(rows=rows)).reasons
    assert reason.text.endswith("source ward 0, source ward 1, source ward 2, and 2 more.")
