"""Measures taken in turn, and how their figures are put."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")


def in_turn(rounds: int, *measures: Callable[[], _T]) -> Iterator[tuple[_T, ...]]:
    """Take each measure once a round, A B A B ...: what else the machine does then falls on all of them alike."""
    for _ in range(rounds):
        yield tuple(measure() for measure in measures)


def print_row(name: str, values: Sequence[float], unit: str = "", *, digits: int = 1, note: str = "") -> float:
    """Print a figure as median (minimum to maximum) and return the median."""
    median = statistics.median(values)
    figure = f"{median:10.{digits}f}{unit and ' ' + unit}"
    spread = f"({min(values):.{digits}f} to {max(values):.{digits}f}, n={len(values)})"
    print(f"{name:36} {figure} {spread}{note and '  ' + note}", flush=True)
    return median


def print_ratio(name: str, numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Print the ratio of two figures that were measured in the same rounds, and return its median."""
    return print_row(name, [a / b for a, b in zip(numerators, denominators, strict=True)], digits=3)


def steady_rate(times: Sequence[float]) -> float:
    """Estimate a rate from the times at which single things were completed, in order.

    It is the slope of their count over time by least squares, without the first tenth of the time. Batches complete
    several at once, and a round ends in the midst of one: the slope hardly moves by that, where count over time does.

    Args:
        times: In seconds, from any origin.

    Raises:
        SystemExit: Fewer than three different times: the round was too short.
    """
    moments = np.sort(np.asarray(times, dtype=np.float64))
    if len(moments):
        moments = moments[moments >= moments[0] + (moments[-1] - moments[0]) / 10]
    if len(np.unique(moments)) < 3:
        raise SystemExit(f"Only {len(times)} answers in a round. Give it more time: --seconds.")
    slope, _ = np.polyfit(moments - moments[0], np.arange(len(moments)), 1)
    return float(slope)
