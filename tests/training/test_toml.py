import tomllib
from typing import Any

import pytest

from training.__main__ import RECIPES
from training.config import Augmentation, FitConfig, Plateau, Stage, read_recipe
from training.toml import toml_text


@pytest.mark.parametrize(
    "fields",
    [
        {"none": [], "two": [1, 2], "text": ["a", 'b"']},
        {"big": 2**40, "small": 1e-06, "third": 1 / 3, "whole": 2.0, "negative": -0.5, "yes": True, "no": False},
        {"text": 'quote " backslash \\ tab \t line \n bell \x07 delete \x7f smile \N{GRINNING FACE} #'},
        {"a": 1, "table": {"b": 2, "inner": {"c": [3]}}, "after": "the table"},
        {"rows": [{"x": 1, "inner": {"y": 2}, "deep": [{"z": 3}, {"z": 4}]}, {"x": 5}], "after": 6},
    ],
    ids=["lists", "numbers", "text", "tables", "arrays of tables"],
)
def test_what_is_written_is_read_back(fields: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(fields)) == fields


def test_none_is_left_out() -> None:
    assert toml_text({"a": None, "b": 1, "c": {"d": None}}) == "b = 1\n\n[c]\n"


def test_what_toml_has_no_word_for_is_refused() -> None:
    with pytest.raises(TypeError, match="TOML has no bytes"):
        toml_text({"a": b"b"})


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_recipe_survives(path: Any, tmp_path: Any) -> None:
    config = read_recipe(path)
    (tmp_path / "recipe.toml").write_text(toml_text(config.model_dump(mode="json")), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml") == config


def test_a_recipe_with_all_that_may_be_none_survives(tmp_path: Any) -> None:
    config = FitConfig(
        weights='C:\\weights\\a "b".h5',
        batch_norm_momentum=0.95,
        stages=(
            Stage(plateau=Plateau(), augmentation=Augmentation(gamma=0.1), mixup_alpha=0.0),
            Stage(schedule_epochs=9, unfrozen_layers="all"),
        ),
    )
    (tmp_path / "recipe.toml").write_text(toml_text(config.model_dump(mode="json")), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml") == config
