"""The learning rate: a function of the epoch, or of the validation loss."""

import math

import keras

from training.config import Stage


def schedule_of(stage: Stage) -> keras.callbacks.Callback:
    """Make the callback that sets a stage's learning rate and writes it into the history."""
    if stage.plateau:
        return keras.callbacks.ReduceLROnPlateau(
            "val_loss",
            factor=stage.plateau.factor,
            patience=stage.plateau.patience,
            min_lr=stage.final_learning_rate,
        )
    return keras.callbacks.LearningRateScheduler(
        lambda epoch, _: cosine_annealing(
            epoch,
            stage.schedule_epochs or stage.epochs,
            stage.peak_learning_rate,
            stage.final_learning_rate,
            stage.warmup_epochs,
        )
    )


def cosine_annealing(epoch: int, epochs: int, peak: float, floor: float, warmup_epochs: int = 0) -> float:
    """Compute the learning rate of an epoch: linear warm-up to the peak, then half a cosine to the floor.

    Args:
        epoch: From 0.
        epochs: Of the whole stage; the last one has the rate ``floor``.
        peak: Rate after the warm-up.
        floor: Rate of the last epoch.
        warmup_epochs: Epochs that climb to the peak.

    Source: Loshchilov and Hutter, SGDR (arXiv:1608.03983), eq. 5, without restarts; by epoch as in the
    original study.
    """
    if epoch < warmup_epochs:
        return peak * (epoch + 1) / (warmup_epochs + 1)
    progress = (epoch - warmup_epochs) / max(epochs - 1 - warmup_epochs, 1)
    return floor + (peak - floor) * (1 + math.cos(math.pi * min(progress, 1))) / 2
