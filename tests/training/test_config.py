import json
from pathlib import Path

import pytest

from app.errors import TrainingError
from training.config import (
    RECIPES,
    Augmentation,
    Execution,
    FitConfig,
    Plateau,
    Stage,
    StudyConfig,
    read_recipe,
    recipe_toml,
)

ABLATION = Path(__file__).parents[2] / "docs" / "ablation"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tmp_path / "recipe.toml"


def test_the_original_recipe_has_the_studys_values() -> None:
    """Source: design.md, "Training protocol"."""
    config = read_recipe(RECIPES / "original.toml")
    assert (config.recipe, config.backbone, config.weights) == ("original", "NASNetLarge", "imagenet")
    assert (config.scaling, config.seed, config.batch_size, config.label_smoothing) == ("second_division", 7, 128, 0.2)
    assert (config.head.units, config.head.dropout, config.head.l1, config.head.l2) == ((512, 256), 0.2, 1e-5, 1e-4)
    assert (config.mixup_alpha, config.average_decay, config.batch_norm_momentum) == (0, 0, None)
    changes = {
        name: value for name, value in config.augmentation.model_dump().items() if "erasure" not in name and value
    }
    assert changes == {"mirror_probability": 0.5, "contrast": 0.2}
    assert config.stages == (
        Stage(
            epochs=50,
            image_size=224,
            unfrozen_layers=0,
            optimizer="adam",
            peak_learning_rate=1e-3,
            final_learning_rate=1e-6,
            checkpoint_monitor="val_accuracy",
            stopping_monitor="val_accuracy",
            patience=15,
        ),
        Stage(
            epochs=60,
            image_size=224,
            unfrozen_layers=54,
            optimizer="adam",
            peak_learning_rate=1e-3,
            final_learning_rate=1e-6,
            plateau=Plateau(factor=0.8, patience=5),
            checkpoint_monitor="val_accuracy",
            stopping_monitor="val_loss",
            patience=20,
        ),
    )


@pytest.mark.parametrize("backbone", ["VGG16", "ResNet50", "NASNetLarge"])
def test_the_native_recipe_differs_from_the_original_in_the_scaling_alone(backbone: str) -> None:
    native, original = (read_recipe(RECIPES / f"{name}.toml", backbone=backbone) for name in ("native", "original"))
    scaling = "none" if backbone == "VGG16" else "second_division"  # The VGG16 notebook lacks the division.
    assert native.model_copy(update={"recipe": "original", "scaling": scaling}) == original
    assert native.scaling == "native"


@pytest.mark.parametrize("name", ["original", "native"])
def test_recipes_that_reproduce_the_study_do_not_keep_the_aspect_ratio(name: str) -> None:
    assert read_recipe(RECIPES / f"{name}.toml").preprocessing == 1


def test_a_run_from_before_there_was_a_second_preprocessing_has_the_first() -> None:
    config = read_recipe(RECIPES / "original.toml")
    fields = config.model_dump(mode="json")
    del fields["preprocessing"]
    assert FitConfig.model_validate_json(json.dumps(fields)) == config
    assert FitConfig(preprocessing=2) != FitConfig()


@pytest.mark.parametrize(
    "path", sorted([*RECIPES.glob("*.toml"), *ABLATION.glob("*.toml")]), ids=lambda path: path.stem
)
def test_every_recipe_that_ships_is_valid_and_ends_at_the_artifacts_size(path: Path) -> None:
    assert read_recipe(path).stages[-1].image_size == 224


def test_a_recipe_survives_its_run_folder() -> None:
    config = read_recipe(RECIPES / "shipped.toml")
    assert FitConfig.model_validate_json(config.model_dump_json()) == config


def test_overrides_replace_fields_unless_none(recipe: Path) -> None:
    recipe.write_text('backbone = "VGG16"\nseed = 3\n')
    config = read_recipe(recipe, backbone="ResNet50", seed=None)
    assert (config.backbone, config.seed) == ("ResNet50", 3)


@pytest.mark.parametrize(("backbone", "seed", "expected"), [(None, None, (4, 9)), ("ResNet50", 5, (5, 8))])
def test_what_holds_for_one_backbone_alone_gives_way_to_overrides(
    backbone: str | None, seed: int | None, expected: tuple[int, int], recipe: Path
) -> None:
    recipe.write_text('backbone = "VGG16"\nseed = 3\nbatch_size = 8\n[only.VGG16]\nseed = 4\nbatch_size = 9\n')
    config = read_recipe(recipe, backbone=backbone, seed=seed)
    assert (config.seed, config.batch_size) == expected


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
        ("seed = -1", r"seed: .*greater than or equal to 0"),
        ("split_seed = 4_294_967_296", r"split_seed: .*less than 4294967296"),
        ("preprocessing = 3", r"preprocessing: Input should be 1 or 2 \(received 3\)"),
        ("stages = []", r"stages: .*at least 1 item"),
        ("[only.VGG17]\nseed = 1", r"only\.VGG17.*'VGG16'.*received 'VGG17'"),
        ("[only.NASNetLarge]\nsede = 1", r"sede: Extra inputs are not permitted"),
        ('[[stages]]\nunfrozen_layers = "some"', r"stages\.0\.unfrozen_layers.*received 'some'"),
        ("[[stages]]\nunfrozen_layers = -1", r"stages\.0\.unfrozen_layers.*greater than or equal to 0"),
        (
            "[[stages]]\nwarmup_epochs = 1\nplateau = {}",
            r"stages\.0: a plateau takes neither warmup_epochs .*cosine's\.",
        ),
    ],
)
def test_a_wrong_recipe_names_the_field(text: str, message: str, recipe: Path) -> None:
    recipe.write_text(text)
    with pytest.raises(TrainingError, match=rf"recipe\.toml is not valid: {message}|recipe\.toml is {message}"):
        read_recipe(recipe)


def test_a_recipe_in_another_encoding_is_refused_in_words(recipe: Path) -> None:
    recipe.write_bytes('recipe = "\N{LATIN SMALL LETTER U WITH DIAERESIS}"'.encode("latin-1"))
    with pytest.raises(TrainingError, match=r"recipe\.toml is not valid TOML: 'utf-8' codec can't decode"):
        read_recipe(recipe)


def test_a_missing_recipe_is_named(recipe: Path) -> None:
    with pytest.raises(TrainingError, match=r"recipe\.toml cannot be read: No such file"):
        read_recipe(recipe)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_float16_softmax_needs_float16(precision: str) -> None:
    with pytest.raises(TrainingError, match=f"needs the precision mixed_float16, not {precision}"):
        Execution(precision=precision, float16_softmax=True)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_recipe_that_is_written_is_read_back(path: Path, recipe: Path) -> None:
    config = read_recipe(path)
    recipe.write_text(recipe_toml(config), encoding="utf-8")
    assert read_recipe(recipe) == config


def test_a_recipe_with_all_that_may_be_none_is_read_back(recipe: Path) -> None:
    config = FitConfig(
        weights='C:\\weights\\a "b" \N{GRINNING FACE}.h5',
        batch_norm_momentum=0.95,
        stages=(
            Stage(plateau=Plateau(), augmentation=Augmentation(gamma=0.1), mixup_alpha=0.0),
            Stage(schedule_epochs=9, unfrozen_layers="all"),
        ),
    )
    recipe.write_text(recipe_toml(config), encoding="utf-8")
    assert read_recipe(recipe) == config


def test_one_weights_file_for_several_backbones_is_refused() -> None:
    runs = tuple(FitConfig(backbone=backbone, weights="vgg16.h5") for backbone in ("VGG16", "ResNet50"))
    with pytest.raises(TrainingError, match="One weights file cannot fit VGG16 and ResNet50: give --backbone"):
        StudyConfig(runs=runs)
    StudyConfig(runs=(runs[0], runs[1].model_copy(update={"weights": "resnet50.h5"})))


def test_layers_without_units_are_refused(recipe: Path) -> None:
    recipe.write_text("[head]\nunits = [0, 256]\n")
    with pytest.raises(TrainingError, match=r"head\.units\.0: .* greater than or equal to 1 \(received 0\)"):
        read_recipe(recipe)
