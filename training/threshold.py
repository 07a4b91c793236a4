"""The threshold of an exported model: chosen on validation by a rule that is written down with it."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from app.errors import TrainingError
from training.evaluate import THRESHOLD_RULE, Labels, Probabilities, fit_threshold, half_way_below
from training.manifest import POSITIVE


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and where it comes from.

    Attributes:
        value: From this probability on the answer is COVID-19.
        rule: How it was chosen, in words.
        choice: The same for programs: ``rule`` ("youden" or "sensitivity"), ``asked`` (the sensitivity, or None), what
            it gives on validation (``sensitivity``, ``specificity``), and ``youden``: what Youden's J would have given.
    """

    value: float
    rule: str
    choice: dict[str, Any]


def choose_threshold(labels: Labels, probabilities: Probabilities, sensitivity: float | None = None) -> Threshold:
    """Choose a threshold on validation: the highest with the sensitivity that is asked for, otherwise Youden's J.

    The sensitivity is the share of the COVID-19 images of validation, a point estimate. Some threshold always
    reaches it, at worst the one below which no COVID-19 image lies; it is placed half-way between that image's
    probability and the next lower one of any image, so that rounding does not decide.

    Args:
        labels: Of validation, (N,).
        probabilities: Of COVID-19, calibrated, (N,).
        sensitivity: To reach, above 0 and at most 1; None: Youden's J.

    Raises:
        TrainingError: The sensitivity is none, or is reached only by calling every image COVID-19.
    """
    youden = _measured(labels, probabilities, fit_threshold(labels, probabilities))
    if sensitivity is None:
        here = {name: youden[name] for name in ("sensitivity", "specificity")}
        return Threshold(youden["threshold"], THRESHOLD_RULE, {"rule": "youden", "asked": None, **here})
    if not 0 < sensitivity <= 1:
        raise TrainingError(f"The sensitivity asked for is {sensitivity:g}. Give a share above 0 and at most 1.")
    of_covid = np.sort(probabilities[labels == POSITIVE])[::-1]
    needed = ceil(sensitivity * len(of_covid) - 1e-9)  # 0.95 of 20 images are 19, whatever floats make of it.
    reached = _measured(labels, probabilities, half_way_below(float(of_covid[needed - 1]), probabilities))
    if not reached["specificity"]:
        raise TrainingError(
            f"On validation a sensitivity of {sensitivity:g} is reached only by calling every image COVID-19, which is "
            f"no threshold. Ask for less (Youden's J gives {youden['sensitivity']:.3f} at a specificity of "
            f"{youden['specificity']:.3f}), or train a better model."
        )
    rule = (
        f"the highest threshold on validation with a sensitivity of at least {sensitivity:g} there, as was asked for "
        f"(it has {reached['sensitivity']:.3f}, at a specificity of {reached['specificity']:.3f}; Youden's J would "
        f"give {youden['sensitivity']:.3f} at {youden['specificity']:.3f}), "
        "after bias-corrected temperature scaling there"
    )
    here = {name: reached[name] for name in ("sensitivity", "specificity")}
    return Threshold(
        reached["threshold"], rule, {"rule": "sensitivity", "asked": sensitivity, **here, "youden": youden}
    )


def _measured(labels: Labels, probabilities: Probabilities, threshold: float) -> dict[str, float]:
    called = probabilities >= threshold
    return {
        "threshold": threshold,
        "sensitivity": float(called[labels == POSITIVE].mean()),
        "specificity": float(1 - called[labels != POSITIVE].mean()),
    }
