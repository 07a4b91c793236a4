"""What a trained model answers in Keras, for what its export answers to be compared with."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from app.artifact import Metadata
from app.imaging import to_network_input
from training.config import FitConfig
from training.fit import load_best
from training.network import logits_of


def keras_answers(run: Path, config: FitConfig, metadata: Metadata, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute the probabilities (N, 2) of a run for squares (N, S, S), calibrated as the metadata of its export says.

    By SciPy's softmax: nothing here is the product's own calibration.
    """
    logits = logits_of(load_best(run, config), to_network_input(squares)).astype(np.float64)
    return np.asarray(softmax(logits / metadata.temperature + [0, metadata.calibration_bias], axis=1))
