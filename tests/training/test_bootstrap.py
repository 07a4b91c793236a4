import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

import training.bootstrap
from training.bootstrap import draw_groups, interval
from training.evaluate import metrics_by_round

GROUPS = list("aaabbcddde")
LABELS = np.array([0, 0, 1, 1, 1, 0, 0, 1, 1, 0])
PROBABILITIES = np.array([0.2, 0.7, 0.7, 0.3, 0.9, 0.1, 0.3, 0.6, 0.2, 0.5], np.float32)


def draws(rounds: int, seed: int = 0) -> NDArray[np.int64]:
    return np.concatenate(list(draw_groups(GROUPS, rounds, seed)))


def test_a_round_draws_as_many_groups_as_there_are_each_as_a_whole() -> None:
    counts = draws(50)
    assert counts.shape == (50, 10)
    first_of_group = [GROUPS.index(group) for group in sorted(set(GROUPS))]
    assert (counts[:, first_of_group].sum(axis=1) == 5).all()
    for group in set(GROUPS):
        members = [i for i, of in enumerate(GROUPS) if of == group]
        assert (counts[:, members] == counts[:, members[:1]]).all()


def test_draws_repeat_and_depend_on_the_seed_and_not_on_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    once = draws(50)
    assert (once != draws(50, seed=1)).any()
    monkeypatch.setattr(training.bootstrap, "_CELLS_AT_ONCE", 70)
    assert [len(some) for some in draw_groups(GROUPS, 50, 0)] == [7] * 7 + [1]
    assert (draws(50) == once).all()


def test_metrics_of_a_round_are_those_of_the_repeated_images() -> None:
    counts = draws(60)
    measured = metrics_by_round(LABELS, PROBABILITIES, 0.5, counts)
    estimable = 0
    for number, times in enumerate(counts):
        labels, probabilities = np.repeat(LABELS, times), np.repeat(PROBABILITIES, times)
        predicted = (probabilities >= 0.5).astype(int)
        assert measured["accuracy"][number] == pytest.approx((predicted == labels).mean())
        assert measured["brier"][number] == pytest.approx(brier_score_loss(labels, probabilities))
        if len(set(labels)) == 2:
            estimable += 1
            assert measured["roc_auc"][number] == pytest.approx(roc_auc_score(labels, probabilities))
            expected = average_precision_score(labels, probabilities)
            assert measured["average_precision"][number] == pytest.approx(expected)
            for label, name in enumerate(("f1_non-COVID", "f1_COVID-19")):
                expected = f1_score(labels, predicted, pos_label=label, zero_division=0)
                assert measured[name][number] == pytest.approx(expected)
    assert estimable > 50


def test_a_round_without_a_class_estimates_nothing_of_it() -> None:
    counts = np.array([LABELS, 1 - LABELS])  # One round of each class alone.
    measured = metrics_by_round(LABELS, PROBABILITIES, 0.5, counts)
    assert np.isnan(measured["roc_auc"]).all()
    assert np.isnan(measured["average_precision"]).all()
    assert np.isnan(measured["sensitivity"]).tolist() == [False, True]
    assert np.isnan(measured["specificity"]).tolist() == [True, False]
    assert np.isnan(measured["f1_COVID-19"]).tolist() == [False, True]


def test_an_interval_holds_95_percent_of_the_rounds_that_count() -> None:
    rounds = np.append(np.arange(1001) / 1000, np.full(500, np.nan))
    assert interval(rounds) == pytest.approx((0.025, 0.975))
