"""Quantize an exported network to int8 with NNCF; neither Keras nor TensorFlow is needed."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from app.errors import TrainingError
from app.imaging import to_network_input

CALIBRATION_IMAGES: Final = 300
"""To measure the range of each activation on. Source: the default of NNCF's ``quantize``."""


def assert_can_quantize() -> None:
    """Check that NNCF is there.

    Raises:
        TrainingError: It is not installed.
    """
    if find_spec("nncf") is None:
        raise TrainingError(
            "Quantization to int8 needs the package 'nncf', which is not installed. Install the extra 'quantize', or "
            "export without --int8."
        )


def quantize(folder: Path, squares: NDArray[np.uint8], path: Path) -> None:
    """Quantize a network after training: its backbone to int8, its head and the Grad-CAM stay float32.

    Of the shipped model, heatmaps were not numbers any more once its head was quantized too.

    Args:
        folder: A SavedModel with the signature of an artifact.
        squares: Training images to measure the ranges of activations on, uint8 (N, 224, 224).
        path: Of the ``.xml`` file to write; weights go into the ``.bin`` beside it.

    Raises:
        TrainingError: NNCF is not installed.
    """
    assert_can_quantize()
    with _nncf_on_standard_error():
        import nncf

        nncf.set_log_level(logging.ERROR)
        model = ov.Core().read_model(folder)
        quantized = nncf.quantize(
            model,
            nncf.Dataset(squares, lambda square: {"image": to_network_input(square[np.newaxis])}),
            subset_size=len(squares),
            ignored_scope=nncf.IgnoredScope(names=_behind_pooling(model)),
        )
    path.parent.mkdir(parents=True)
    ov.save_model(quantized, path, compress_to_fp16=False)


@contextmanager
def _nncf_on_standard_error() -> Iterator[None]:
    """Let NNCF show its progress where progress belongs."""
    with redirect_stdout(sys.stderr):
        yield


def _behind_pooling(model: ov.Model) -> list[str]:
    """Name the operations that begin with the pooling of the backbone's last maps, the pooling included."""
    node = model.output("features").get_node()
    while node.get_type_name() != "ReduceMean":  # The pooling, which only transpositions follow to this output.
        node = node.input_value(0).get_node()
    found, to_visit = {}, [node]
    while to_visit:
        node = to_visit.pop()
        if node.get_friendly_name() not in found:
            found[node.get_friendly_name()] = node
            to_visit += [to.get_node() for output in node.outputs() for to in output.get_target_inputs()]
    return sorted(found)
