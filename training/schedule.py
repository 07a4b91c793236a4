"""Learning rate as a function of the epoch."""

import math


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
