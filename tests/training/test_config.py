from pathlib import Path

import pytest

from app.errors import TrainingError
from training.__main__ import RECIPES
from training.config import FitConfig, Stage, read_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tmp_path / "recipe.toml"


def test_the_recipe_of_the_study_has_its_values() -> None:
    """Source: design.md, "Training protocol"; the scaling is that of the ImageNet weights."""
    config = read_recipe(RECIPES / "study.toml")
    assert (config.backbone, config.weights, config.seed, config.batch_size) == ("NASNetLarge", "imagenet", 7, 128)
    assert (config.head.units, config.head.dropout, config.head.l1, config.head.l2) == ((512, 256), 0.2, 1e-5, 1e-4)
    assert (config.label_smoothing, config.monitor) == (0.2, "val_accuracy")
    assert (config.mixup_alpha, config.average_decay, config.batch_norm_momentum) == (0, 0, None)
    changes = {
        name: value for name, value in config.augmentation.model_dump().items() if "erasure" not in name and value
    }
    assert changes == {"mirror_probability": 0.5, "contrast": 0.2}
    assert config.stages == (
        Stage(
            epochs=50,
            image_size=224,
            train_backbone=False,
            optimizer="adam",
            peak_learning_rate=1e-3,
            final_learning_rate=1e-6,
            patience=15,
        ),
    )


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_valid_and_ends_at_the_artifacts_size(path: Path) -> None:
    assert read_recipe(path).stages[-1].image_size == 224


def test_a_recipe_survives_its_run_folder() -> None:
    config = read_recipe(RECIPES / "shipped.toml")
    assert FitConfig.model_validate_json(config.model_dump_json()) == config


def test_overrides_replace_fields_unless_none(recipe: Path) -> None:
    recipe.write_text('backbone = "VGG16"\nseed = 3\n')
    config = read_recipe(recipe, backbone="ResNet50", seed=None)
    assert (config.backbone, config.seed) == ("ResNet50", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('backbone = "ResNet51"', r"backbone: Input should be .*'VGG16'.*received 'ResNet51'"),
        ("batch_size = 1", r"batch_size: Input should be greater than or equal to 2 \(received 1\)"),
        ("bacth_size = 8", r"bacth_size: Extra inputs are not permitted"),
        ("[[stages]]\nepochs = 0", r"stages\.0\.epochs: .*greater than or equal to 1"),
        ("[augmentation]\nmirror_probability = 2", r"augmentation\.mirror_probability: .*less than or equal to 1"),
        ("seed = ", r"not valid TOML"),
        ('seed = "seven"', r"seed: .*valid integer"),
    ],
)
def test_a_wrong_recipe_names_the_field(text: str, message: str, recipe: Path) -> None:
    recipe.write_text(text)
    with pytest.raises(TrainingError, match=rf"recipe\.toml is not valid: {message}|recipe\.toml is {message}"):
        read_recipe(recipe)


def test_a_missing_recipe_is_named(recipe: Path) -> None:
    with pytest.raises(TrainingError, match=r"recipe\.toml cannot be read: No such file"):
        read_recipe(recipe)
