import statistics
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, roc_auc_score

import training.evaluate
from tests.training.made_up_evidence import answers, constant, evaluation, history, model, records, study
from training.bootstrap import draw_groups, interval
from training.calibration import Calibration
from training.comparison import kept_epoch, measure
from training.config import FitConfig
from training.manifest import LABELS
from training.measures import Comparison
from training.results import EpochTiming

ROUNDS = 40


@pytest.fixture(autouse=True)
def _fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "BOOTSTRAP_ROUNDS", ROUNDS)


def test_figures_by_class_are_those_of_scikit_learn_with_the_names_in_order() -> None:
    evidence = study(96)
    for trained, measured in zip(evidence.models, measure(evidence).models, strict=True):
        given, part = trained.parts["test"], measured.parts["test"]
        predicted = (given.probabilities >= trained.threshold).astype(int)
        expected = classification_report(
            given.labels, predicted, target_names=LABELS, output_dict=True, zero_division=np.nan
        )
        for label in LABELS:
            for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                assert part.classes[label][ours].value == pytest.approx(expected[label][theirs])
            assert part.images[label] == expected[label]["support"]
        assert part.confusion == confusion_matrix(given.labels, predicted).tolist()


def test_accuracy_is_measured_at_the_threshold_and_where_the_larger_probability_wins() -> None:
    of = records(48)
    evidence = evaluation(of, answers(of, 1, skill=0.1))
    given = evidence.models[0].parts["all"]
    part = measure(evidence).chosen.parts["all"]
    assert part.metrics["accuracy"].value == accuracy_score(given.labels, given.probabilities >= 0.45)
    assert part.accuracy_at_half.value == accuracy_score(given.labels, given.probabilities >= 0.5)
    biased = replace(evidence, models=(replace(evidence.models[0], calibration=Calibration(1.2, -1.0)),))
    [model] = measure(biased).models
    assert (model.temperature, model.calibration_bias) == (1.2, -1.0)
    uncalibrated = given.probabilities >= 1 / (1 + np.e)  # Where the bias alone takes the odds from 1 to 1 / e.
    assert model.parts["all"].accuracy_at_half.value == accuracy_score(given.labels, uncalibrated)
    assert part.metrics["accuracy"].value != part.accuracy_at_half.value


@pytest.mark.parametrize("prevalence", [0.02, 0.5])
def test_predictive_values_follow_bayes_at_the_stated_prevalence(prevalence: float) -> None:
    comparison = measure(evaluation(records(48)), prevalence)
    part = comparison.chosen.parts["all"]
    sensitivity, specificity = (part.metrics[name].value for name in ("sensitivity", "specificity"))
    called, right = 1000 * np.array([prevalence, 1 - prevalence]), np.array([sensitivity, specificity])
    found, cleared = called * right
    missed, false_alarms = called * (1 - right)
    assert comparison.prevalence == prevalence
    assert part.predictive_values["positive"].value == pytest.approx(found / (found + false_alarms))
    assert part.predictive_values["negative"].value == pytest.approx(cleared / (cleared + missed))


@pytest.mark.parametrize(
    ("probability", "at_threshold", "at_half"),
    [(0.9, "COVID-19", "COVID-19"), (0.47, "COVID-19", "non-COVID"), (0.1, "non-COVID", "non-COVID")],
)
def test_a_model_that_answers_one_class_is_noticed_at_either_threshold(
    probability: float, at_threshold: str, at_half: str
) -> None:
    of = records(24)
    part = measure(evaluation(of, constant(of, probability))).chosen.parts["all"]
    assert (part.only_answer, part.only_answer_at_half) == (at_threshold, at_half)
    never = ({"positive", "negative"} - set(part.predictive_values)).pop()
    assert never == ("positive" if at_threshold == "non-COVID" else "negative")


def test_a_model_that_answers_both_classes_is_not_said_to_answer_one() -> None:
    part = measure(evaluation(records(24))).chosen.parts["all"]
    assert (part.only_answer, part.only_answer_at_half) == (None, None)


def test_differences_are_paired_and_by_group() -> None:
    evidence = study(96)
    winner = evidence.models[evidence.winner]
    measured = {of.model: of.metrics for of in measure(evidence).differences}
    assert list(measured) == [trained.name for trained in evidence.models if trained is not winner]
    best = winner.parts["test"]
    groups = [record.group for record in best.records]
    for trained in evidence.models:
        if trained is winner:
            continue
        given = trained.parts["test"]
        rounds = []
        for counts in draw_groups(groups, ROUNDS, 0):
            for times in counts:
                drawn = np.repeat(np.arange(len(times)), times)
                of_both = [accuracy_score(of.labels[drawn], of.probabilities[drawn] >= 0.45) for of in (given, best)]
                rounds.append(of_both[0] - of_both[1])
        accuracy, area = measured[trained.name]["accuracy"], measured[trained.name]["roc_auc"]
        assert (accuracy.low, accuracy.high) == pytest.approx(interval(np.array(rounds)))
        expected = [roc_auc_score(of.labels, of.probabilities) for of in (given, best)]
        assert area.value == pytest.approx(expected[0] - expected[1])


def test_equal_models_differ_by_nothing_in_every_draw() -> None:
    evidence = study(96, [("native", "VGG16", 1), ("native", "VGG16", 2)])
    twin = replace(evidence.models[0], parts=evidence.models[1].parts)
    (difference,) = measure(replace(evidence, models=(twin, evidence.models[1]))).differences
    for estimate in difference.metrics.values():
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_models_that_differ_in_the_seed_alone_are_gathered() -> None:
    names = [("native", "VGG16", 1), ("native", "VGG16", 2), ("native", "VGG16", 3), ("original", "VGG16", 1)]
    comparison = measure(study(96, names))
    (gathered,) = comparison.seeds
    assert (gathered.recipe, gathered.backbone, gathered.seeds) == ("native", "VGG16", [1, 2, 3])
    values = [of.parts["test"].metrics["roc_auc"].value for of in comparison.models[:3]]
    spread = gathered.metrics["roc_auc"]
    assert spread.mean == pytest.approx(statistics.mean(values))
    assert spread.standard_deviation == pytest.approx(statistics.stdev(values))
    assert (spread.smallest, spread.largest) == (min(values), max(values))


def test_a_stage_kept_the_first_of_its_best_epochs() -> None:
    epochs = [{"val_accuracy": a, "val_loss": b} for a, b in [(0.5, 0.9), (0.8, 0.7), (0.8, 0.6), (0.7, float("nan"))]]
    assert kept_epoch(epochs, "val_accuracy") == 1
    assert kept_epoch(epochs, "val_loss") == 2
    assert kept_epoch(epochs[3:], "val_loss") is None


def test_an_epoch_that_diverged_was_not_kept_however_accurate() -> None:
    """``BestWeights`` leaves it out too."""
    epochs = [{"val_accuracy": 0.5, "val_loss": 0.9}, {"val_accuracy": 0.6, "val_loss": float("nan")}]
    assert kept_epoch(epochs, "val_accuracy") == 0
    assert kept_epoch(epochs[1:], "val_accuracy") is None


def test_time_is_that_of_all_epochs_and_speed_that_of_the_median_one() -> None:
    timings = tuple(
        EpochTiming(0, epoch, 100, steps, steps + 1) for epoch, steps in enumerate([50.0, 2.0, 4.0])
    )  # The first compiles.
    trained = model("native", "VGG16", 7, {"all": answers(records(24), 0)}, history=history(0, [3]), timings=timings)
    (stage,) = measure(replace(evaluation(records(24)), models=(trained,))).chosen.stages
    assert (stage.epochs, stage.seconds, stage.images_per_second) == (3, 59, 25)


def test_without_timings_and_configuration_they_are_not_known() -> None:
    trained = model(
        "native", "VGG16", 7, {"all": answers(records(24), 0)}, history=history(0, [3]), timings=(), config=None
    )
    (stage,) = measure(replace(evaluation(records(24)), models=(trained,))).chosen.stages
    assert (stage.epochs, stage.seconds, stage.images_per_second, stage.kept_epoch) == (3, None, None, None)


@pytest.mark.parametrize("label", [0, 1])
def test_a_missing_class_leaves_out_what_needs_it(label: int) -> None:
    comparison = measure(evaluation([record for record in records(48) if record.label == label]))
    part = comparison.chosen.parts["all"]
    assert not {"roc_auc", "average_precision"} & part.metrics.keys()
    assert part.predictive_values == {}
    assert "recall" not in part.classes[LABELS[1 - label]]
    assert "recall" in part.classes[LABELS[label]]


def test_one_image_can_be_measured() -> None:
    assert measure(evaluation(records(1))).chosen.parts["all"].images == {"non-COVID": 1, "COVID-19": 0}


def test_the_file_holds_all_and_reads_back_without_any_identifier() -> None:
    rules = {"not_square": {"accuracy": 0.5, "roc_auc": float("nan")}}
    evidence = study(96, limit=96, trivial_rules=rules)
    comparison = measure(evidence)
    text = comparison.model_dump_json()
    assert Comparison.model_validate_json(text) == comparison
    assert "NaN" not in text
    assert (comparison.part, comparison.data.limit, comparison.bootstrap_rounds) == ("test", 96, ROUNDS)
    assert comparison.chosen.name == evidence.models[evidence.winner].name
    for record in evidence.manifest.records:
        assert record.path not in text
        assert record.group not in text


def test_a_weights_file_is_not_named() -> None:
    config = FitConfig(weights="/home/somebody/of-ward-nine.h5")
    trained = replace(evaluation(records(24)).models[0], config=config)
    assert measure(replace(evaluation(records(24)), models=(trained,))).chosen.weights == "a file"
