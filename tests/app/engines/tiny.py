"""An artifact that OpenVINO reads and compiles in no time: a network of a few operations, stored as int8 models are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from app.artifact import GATE, GOLDEN, INT8_MODEL, METADATA, Artifact, file_digests, open_artifact
from app.imaging import IMAGE_SIZE, to_network_input
from app.outputs import Golden, Outputs
from tests.app.fakes import FakeEngine, golden, metadata, write_artifact

WEIGHTS = str(Path(INT8_MODEL).with_suffix(".bin"))


class GainEngine(FakeEngine):
    """What the network must answer: its largest weights are a gain."""

    def __init__(self, gain: float) -> None:
        self._gain = gain

    def infer(self, images: np.ndarray) -> Outputs:
        outputs = super().infer(images)
        return Outputs(outputs.probabilities, outputs.heatmap, outputs.features * np.float32(self._gain))


def write_tiny(folder: Path, gain: float = 1) -> Artifact:
    """Write an artifact, also over one that is there: only the weights differ, and what is computed of them."""
    if not folder.exists():
        write_artifact(folder)
    (folder / INT8_MODEL).parent.mkdir(exist_ok=True)
    ov.save_model(_network(gain), folder / INT8_MODEL, compress_to_fp16=False)
    squares = golden().squares
    Golden(squares, GainEngine(gain).infer(to_network_input(squares))).save(folder / GOLDEN)
    described = metadata(files=file_digests(folder), tolerances={"int8": 1e-3}, precisions={"int8": accepted()})
    (folder / METADATA).write_text(json.dumps(described))
    return open_artifact(folder)


def accepted(**changes: Any) -> dict[str, Any]:
    """The record of a precision in which a model may be served, with changes."""
    valid = {"images": 100, "largest_difference": 0.001, "label_flips": 0}
    valid |= {"roc_auc_difference": 0, "accuracy_difference": 0, "accepted": True}
    return {**valid, **changes}


def _network(gain: float) -> ov.Model:
    image = ops.parameter([-1, IMAGE_SIZE, IMAGE_SIZE, 3], np.float32, name="image")
    image.output(0).tensor.set_names({"image"})
    brightness = ops.reduce_mean(image, np.array([1, 2, 3]), keep_dims=False)
    positive = ops.unsqueeze(brightness, np.array(1))
    cell = IMAGE_SIZE // 7
    cells = ops.reshape(image, np.array([-1, 7, cell, 7, cell, 3]), special_zero=False)
    heatmap = ops.reduce_mean(cells, np.array([2, 4, 5]), keep_dims=False)
    flat = ops.reshape(heatmap, np.array([-1, 49]), special_zero=False)
    features = ops.matmul(flat, ops.constant(10 * gain * np.eye(49, dtype=np.float32)), False, False)
    probabilities = ops.concat([ops.subtract(ops.constant(np.float32(1)), positive), positive], 1)
    results = []
    for name, node in (("probabilities", probabilities), ("heatmap", heatmap), ("features", features)):
        node.output(0).tensor.set_names({name})
        results.append(ops.result(node))
    return ov.Model(results, [image])


def without_gate(folder: Path) -> Path:
    """Take the gate away, as older exports have none."""
    (folder / GATE).unlink(missing_ok=True)
    described = json.loads((folder / METADATA).read_text())
    described.pop("gate", None)
    (folder / METADATA).write_text(json.dumps({**described, "files": file_digests(folder)}))
    return folder
