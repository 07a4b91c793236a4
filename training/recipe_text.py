"""A recipe in words."""

from app.imaging import PREPROCESSING_VERSIONS
from training.config import FitConfig, Stage


def stage_text(stage: Stage, config: FitConfig) -> str:
    """Describe a stage of a run in a sentence."""
    effective = config.of_stage(stage)
    changes = {name: value for name, value in effective.augmentation.model_dump().items() if value}
    if not changes.get("erasures"):
        changes = {name: value for name, value in changes.items() if not name.startswith("erasure")}
    cosine = f"the first of a cosine over {stage.schedule_epochs}, " if stage.schedule_epochs else ""
    plateau = f", times {stage.plateau.factor:g} on a plateau" if stage.plateau else ""
    return (
        f"At most {stage.epochs} epochs, {cosine}at {stage.image_size} pixels, "
        f"{PREPROCESSING_VERSIONS[config.preprocessing]}, {_learning(stage)}; "
        f"{stage.optimizer}, learning rate {stage.peak_learning_rate:g} to {stage.final_learning_rate:g}{plateau}; "
        f"mixup {effective.mixup_alpha:g}; "
        f"augmentation: {', '.join(f'{name} {value:g}' for name, value in changes.items()) or 'none'}."
    )


def _learning(stage: Stage) -> str:
    if stage.unfrozen_layers == "all":
        return "all layers"
    if stage.unfrozen_layers:
        return f"the head and the last {stage.unfrozen_layers} layers of the backbone save batch normalisation"
    return "the head alone"
