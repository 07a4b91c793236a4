"""What a probe says in words follows from its figures."""

from typing import Any

import numpy as np
import pytest

from training.measures import Estimate
from training.probe.measure import alterations_of
from training.probe.measures import Altered, Probe, SourcesTold
from training.probe.text import findings, probe_text
from training.sources import SourceCounts

WITHIN = "roc_auc within clinic"
ALTERATIONS = list(alterations_of(np.zeros((1, 4, 4), np.uint8)))


def estimate(value: float, width: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width)


def metrics(roc_auc: float, inside: float = 0.6, accuracy: float = 0.8) -> dict[str, Estimate]:
    names = {"accuracy": accuracy, "roc_auc": roc_auc, WITHIN: inside, "sensitivity": 0.7, "specificity": 0.9}
    return {name: estimate(value) for name, value in names.items()}


def altered(roc_auc: float, difference: float) -> Altered:
    differences = {name: estimate(difference) for name in ("accuracy", "roc_auc", WITHIN)}
    return Altered(metrics=metrics(roc_auc), differences=differences)


def told(balanced_accuracy: float) -> SourcesTold:
    return SourcesTold(
        images={"clinic": 60, "journal": 40},
        left_out={"rare": 3},
        folds=5,
        accuracy=estimate(0.6),
        balanced_accuracy=estimate(balanced_accuracy),
        majority_accuracy=0.6,
        majority_balanced_accuracy=0.5,
    )


def probe_of(**changes: Any) -> Probe:
    given: dict[str, Any] = {
        "model": "tiny",
        "version": 1,
        "model_digest": "0123456789abcdef0123",
        "recipe": "native",
        "backbone": "VGG16",
        "engine": "OpenVINO",
        "threshold": 0.4,
        "data_digest": "0123",
        "part": "validation",
        "split_seed": 7,
        "images": {"non-COVID": 60, "COVID-19": 40},
        "groups": 80,
        "sources": {"clinic": _source(20)},
        "view_rules": {"clinic": estimate(0.65)},
        "bootstrap_rounds": 1000,
        "metrics": metrics(0.9),
        "altered": {name: altered(0.9, 0.0) for name in ALTERATIONS},
        "sources_told": {"all images": told(0.7)},
        "trivial_rules": {
            "not_square": {"accuracy": 0.7, "roc_auc": 0.7},
            "contrast": {"accuracy": 0.6, "roc_auc": 0.6},
        },
    }
    return Probe(**given | changes)


def _source(groups: int) -> SourceCounts:
    return SourceCounts(images={"non-COVID": 30, "COVID-19": 30}, groups={"non-COVID": groups, "COVID-19": 25})


def said(probe: Probe, about: str) -> str:
    [sentence] = [sentence for sentence in findings(probe) if about in sentence]
    return sentence


def with_altered(name: str, of: Altered) -> Probe:
    probe = probe_of()
    return probe.model_copy(update={"altered": probe.altered | {name: of}})


@pytest.mark.parametrize(("name", "about"), [("lungs covered", "With the lungs covered"), ("borders only", "On the b")])
def test_an_auc_that_stays_without_the_lungs_is_called_a_shortcut(name: str, about: str) -> None:
    sentence = said(with_altered(name, altered(0.7, -0.2)), about)
    assert sentence.startswith("**A shortcut.** ")
    assert "0.700 (0.650 to 0.750), 50% of what the whole images give above 0.5" in sentence


def test_a_small_share_is_called_a_weak_sign() -> None:
    sentence = said(with_altered("lungs covered", altered(0.58, -0.32)), "With the lungs covered")
    assert sentence.startswith("A weak sign of a shortcut. ")
    assert "20% of what the whole images give" in sentence


def test_an_auc_near_chance_without_the_lungs_is_not() -> None:
    sentence = said(with_altered("lungs covered", altered(0.54, -0.36)), "With the lungs covered")
    assert "no shortcut is seen" in sentence
    assert "**" not in sentence


def test_a_model_that_knows_nothing_keeps_no_share() -> None:
    probe = with_altered("lungs covered", altered(0.7, 0.2))
    probe = probe.model_copy(update={"metrics": metrics(0.52)})
    assert "%" not in said(probe, "With the lungs covered")


@pytest.mark.parametrize(
    ("difference", "verdict"), [(-0.2, ": a loss."), (0.2, ": a gain."), (0.01, ": no change that these images could")]
)
def test_what_an_alteration_costs_is_said_from_its_interval(difference: float, verdict: str) -> None:
    assert verdict in said(with_altered("matched grey levels", altered(0.8, difference)), "the same grey levels")


@pytest.mark.parametrize(
    ("inside", "groups", "verdict"),
    [(0.8, 20, ": better than chance."), (0.53, 20, ": chance may give as much."), (0.9, 4, ": too few groups")],
)
def test_the_figure_within_a_source_is_judged_by_interval_and_groups(inside: float, groups: int, verdict: str) -> None:
    probe = probe_of(metrics=metrics(0.9, inside), sources={"clinic": _source(groups)})
    sentence = said(probe, "Within clinic (")
    assert f"30 non-COVID in {groups} groups and 30 COVID-19 in 25 groups" in sentence
    assert verdict in sentence


def test_what_the_view_alone_is_worth_within_a_source_stands_beside_it() -> None:
    assert said(probe_of(), "AP or PA") == (
        "Within clinic a rule that knows only whether a radiograph was taken AP or PA has a ROC AUC of "
        "0.650 (0.600 to 0.700)."
    )
    assert not any("AP or PA" in sentence for sentence in findings(probe_of(view_rules={})))


@pytest.mark.parametrize(("roc_auc", "warned"), [(0.98, True), (0.96, False)])
def test_a_figure_that_is_too_good_is_marked(roc_auc: float, warned: bool) -> None:
    sentences = findings(probe_of(metrics=metrics(roc_auc)))
    assert any(sentence.startswith("**Suspiciously good:**") for sentence in sentences) is warned


def test_without_a_source_of_both_classes_that_is_said() -> None:
    assert said(probe_of(sources={}), "No source holds both classes")


@pytest.mark.parametrize(
    ("balanced", "verdict"), [(0.7, "the features tell where an image was taken"), (0.52, "not better than the maj")]
)
def test_the_source_is_told_or_not(balanced: float, verdict: str) -> None:
    assert verdict in said(probe_of(sources_told={"all images": told(balanced)}), "Source from the features")


@pytest.mark.parametrize(("accuracy", "worse"), [(0.65, True), (0.9, False)])
def test_a_trivial_rule_that_does_as_well_is_named(accuracy: float, worse: bool) -> None:
    sentence = said(probe_of(metrics=metrics(0.9, accuracy=accuracy)), 'knows only "not square"')
    assert sentence.startswith("**No better than a trivial rule.**") is worse


def test_the_page_has_a_row_for_every_alteration_and_names_are_escaped() -> None:
    page = probe_text(probe_of(model="a*b"), "altered.png", made_up=True)
    for name in ("as they are", *ALTERATIONS):
        assert f"\n| {name} | 0.800 (0.750 to 0.850) |" in page
    assert page.startswith("# What a\\*b 1 goes by")
    assert "![a drawing and no radiograph, as it is and altered](altered.png)" in page
    assert "| all images | clinic 60, journal 40 |" in page
