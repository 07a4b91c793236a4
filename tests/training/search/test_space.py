from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from training.config import RECIPES, FitConfig, Head, Stage, read_recipe
from training.search.space import own_parameters, search_space, with_parameters

shipped = pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)


def test_the_native_recipe_is_searched_in_what_the_issue_names() -> None:
    space = search_space(read_recipe(RECIPES / "native.toml"))
    assert space == {
        "label_smoothing": FloatDistribution(0.0, 0.3),
        "batch_size": CategoricalDistribution([16, 32, 64, 128]),
        "head.dropout": FloatDistribution(0.0, 0.6),
        "head.units": CategoricalDistribution(["256/128", "512/256", "1024/512"]),
        "stages.0.peak_learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "stages.1.peak_learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "stages.1.unfrozen_layers": IntDistribution(6, 216, log=True),
    }


@shipped
def test_a_recipes_own_values_are_in_its_space_and_give_it_back(path: Path) -> None:
    base = read_recipe(path)
    own, space = own_parameters(base), search_space(base)
    assert own.keys() == space.keys()
    assert all(space[name]._contains(space[name].to_internal_repr(value)) for name, value in own.items())
    assert with_parameters(base, own) == base.model_copy(update={"recipe": f"{base.recipe}-tuned"})


def test_values_beyond_the_limits_widen_them() -> None:
    base = FitConfig(batch_size=24, label_smoothing=0.4, head=Head(units=(64, 32), dropout=0.7))
    space = search_space(base)
    assert space["batch_size"] == CategoricalDistribution([16, 24, 32, 64, 128])
    assert space["label_smoothing"] == FloatDistribution(0.0, 0.4)
    assert space["head.dropout"] == FloatDistribution(0.0, 0.7)
    assert space["head.units"] == CategoricalDistribution(["64/32", "256/128", "512/256", "1024/512"])


@pytest.mark.parametrize(("unfrozen", "searched"), [(0, False), ("all", False), (1, True), (54, True)])
def test_unfrozen_layers_are_searched_where_a_number_of_them_is_unfrozen(unfrozen: int | str, searched: bool) -> None:
    base = FitConfig(stages=(Stage(unfrozen_layers=unfrozen),))
    assert ("stages.0.unfrozen_layers" in search_space(base)) is searched


def test_a_peak_learning_rate_stays_above_the_final_one() -> None:
    base = FitConfig(stages=(Stage(peak_learning_rate=1e-3, final_learning_rate=1e-4),))
    assert search_space(base)["stages.0.peak_learning_rate"] == FloatDistribution(1e-4, 1e-2, log=True)


def test_parameters_change_what_they_name_and_nothing_else() -> None:
    base = read_recipe(RECIPES / "native.toml")
    tuned = with_parameters(
        base, {"head.units": "256/128", "stages.1.unfrozen_layers": 9, "stages.0.peak_learning_rate": 0.01}
    )
    assert tuned == base.model_copy(
        update={
            "recipe": "native-tuned",
            "head": base.head.model_copy(update={"units": (256, 128)}),
            "stages": (
                base.stages[0].model_copy(update={"peak_learning_rate": 0.01}),
                base.stages[1].model_copy(update={"unfrozen_layers": 9}),
            ),
        }
    )
    assert with_parameters(tuned, {}).recipe == "native-tuned"
