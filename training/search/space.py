"""What a search may change in a recipe, and how far.

A setting's name is its place in the recipe, as in ``stages.1.peak_learning_rate``. What is not named here stays as
the base recipe has it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from training.config import FitConfig

Parameters = Mapping[str, str | int | float]
"""A trial's settings by name, in the types that a study's database takes: two widths are the text "512/256"."""


@dataclass(frozen=True, slots=True)
class Between:
    """A number between two limits, evenly."""

    low: float
    high: float

    def distribution(self, value: float) -> BaseDistribution:
        """Return the range, with the base recipe's own value in it."""
        return FloatDistribution(min(self.low, value), max(self.high, value))


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a set."""

    options: tuple[Any, ...]

    def distribution(self, value: Any) -> BaseDistribution:
        """Return the set, with the base recipe's own value in it."""
        return CategoricalDistribution([_encode(option) for option in sorted({*self.options, value})])


@dataclass(frozen=True, slots=True)
class Around:
    """A positive number from a fraction to a multiple of the base recipe's own, evenly in its logarithm."""

    fraction: float
    multiple: float

    def distribution(self, value: float, floor: float = 0) -> BaseDistribution:
        """Return the range, which begins no lower than ``floor``; whole numbers where the value is one."""
        if isinstance(value, int):
            return IntDistribution(
                max(1, math.floor(value * self.fraction)), math.ceil(value * self.multiple), log=True
            )
        low = min(value, max(value * self.fraction, floor))
        return FloatDistribution(low, value * self.multiple, log=True)


OF_THE_RUN: Final[dict[str, Between | OneOf]] = {
    # From none to half as much again as the original study's 0.2; the shipped recipe took 0.05.
    "label_smoothing": Between(0.0, 0.3),
    # The study's 128 and its halves: a smaller batch takes more and noisier steps an epoch, and less memory.
    "batch_size": OneOf((16, 32, 64, 128)),
    # None, to three times the study's 0.2.
    "head.dropout": Between(0.0, 0.6),
    # The study's widths, halved and doubled.
    "head.units": OneOf(((256, 128), (512, 256), (1024, 512))),
}

OF_A_STAGE: Final[dict[str, Around]] = {
    # Two decades down: the study's 1e-3 is a rate for a new head, Keras' guide to transfer learning fine-tunes with
    # 1e-5. One decade up, where a rate that is too high shows within an epoch or two.
    "peak_learning_rate": Around(1 / 100, 10),
    # The study's 54 layers are little more than the last cell of NASNetLarge, which has 45: from 7 to 216, a part of
    # a cell to almost five.
    "unfrozen_layers": Around(1 / 8, 4),
}


def search_space(base: FitConfig) -> dict[str, BaseDistribution]:
    """Return each setting's range, which holds the base recipe's own value.

    ``unfrozen_layers`` is searched in stages that unfreeze a number of layers, not in those with none or all; a peak
    learning rate never goes below the stage's final one.
    """
    own = own_parameters(base)
    space = {name: setting.distribution(_decode(own[name])) for name, setting in OF_THE_RUN.items()}
    for number, stage in enumerate(base.stages):
        for field, around in OF_A_STAGE.items():
            floor = stage.final_learning_rate if field == "peak_learning_rate" else 0
            if (name := f"stages.{number}.{field}") in own:
                space[name] = around.distribution(getattr(stage, field), floor)
    return space


def own_parameters(base: FitConfig) -> dict[str, str | int | float]:
    """Return the base recipe's own values of what is searched."""
    own = {name: _encode(_get(base, name)) for name in OF_THE_RUN}
    for number, stage in enumerate(base.stages):
        own[f"stages.{number}.peak_learning_rate"] = stage.peak_learning_rate
        if isinstance(stage.unfrozen_layers, int) and stage.unfrozen_layers:
            own[f"stages.{number}.unfrozen_layers"] = stage.unfrozen_layers
    return own


def with_parameters(base: FitConfig, parameters: Parameters) -> FitConfig:
    """Return the base recipe with a trial's settings, named as a tuned one."""
    fields = base.model_dump()
    fields["recipe"] = f"{base.recipe.removesuffix('-tuned')}-tuned"
    for name, value in parameters.items():
        *path, last = name.split(".")
        inner: Any = fields
        for part in path:
            inner = inner[int(part) if part.isdecimal() else part]
        inner[last] = _decode(value)
    return FitConfig.model_validate(fields)


def _get(base: FitConfig, name: str) -> Any:
    value: Any = base
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _encode(value: Any) -> Any:
    return "/".join(map(str, value)) if isinstance(value, tuple) else value


def _decode(value: Any) -> Any:
    return tuple(map(int, value.split("/"))) if isinstance(value, str) else value
