"""What an answer is worth where the disease is as frequent as somebody states: predictive values by Bayes' rule.

The share of COVID-19 among the images that were measured is that of a collection and of no hospital: a predictive value
at it would mislead, and none is ever given.
"""

from collections.abc import Sequence
from typing import Any, Final

from app.errors import TrainingError
from training.bootstrap import Counts, Rounds, ratio, share
from training.evaluate import Labels, Probabilities, estimate
from training.manifest import POSITIVE

PREVALENCES: Final = (0.01, 0.05, 0.2)
"""Of COVID-19 among those examined, where nobody states another: examples of ours from rare to frequent, measured
nowhere."""


def check_prevalence(prevalence: float) -> None:
    """Refuse what is no prevalence.

    Raises:
        TrainingError: It is not above 0 and below 1.
    """
    if not 0 < prevalence < 1:
        raise TrainingError(f"The prevalence is {prevalence:g}. Give a share above 0 and below 1.")


def predictive_values(sensitivity: Rounds, specificity: Rounds, prevalence: float) -> tuple[Rounds, Rounds]:
    """Compute the positive and the negative predictive value at a prevalence, by round, (R,) each.

    A positive one is NaN where nothing is called COVID-19, a negative one where everything is.
    """
    found, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    cleared, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return ratio(found, found + false_alarms), ratio(cleared, cleared + missed)


def at_prevalences(
    labels: Labels,
    probabilities: Probabilities,
    threshold: float,
    groups: Sequence[str],
    prevalences: Sequence[float] = PREVALENCES,
) -> list[dict[str, Any]]:
    """Estimate predictive values at stated prevalences, from sensitivity and specificity of some images.

    Args:
        labels: (N,).
        probabilities: Of COVID-19, (N,).
        threshold: From this probability on the answer is COVID-19.
        groups: Of each image; intervals come from the bootstrap over them.
        prevalences: In the order of the result.

    Returns:
        For each ``prevalence``, and ``positive`` and ``negative`` with intervals, or None where not estimable.
    """
    positive, called = labels == POSITIVE, probabilities >= threshold

    def measure(counts: Counts) -> dict[str, Rounds]:
        sensitivity, specificity = share(called, positive, counts), share(~called, ~positive, counts)
        values = {}
        for index, prevalence in enumerate(prevalences):
            values[f"{index}/positive"], values[f"{index}/negative"] = predictive_values(
                sensitivity, specificity, prevalence
            )
        return values

    estimated = estimate(measure, len(labels), groups)
    return [
        {
            "prevalence": float(prevalence),
            **{kind: estimated.get(f"{index}/{kind}") for kind in ("positive", "negative")},
        }
        for index, prevalence in enumerate(prevalences)
    ]
