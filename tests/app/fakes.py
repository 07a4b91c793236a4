"""Stand-ins for a trained model: an engine that needs no network, and an artifact folder for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.artifact import (
    EXTRA,
    FORMAT_VERSION,
    GOLDEN,
    METADATA,
    MODEL_CARD,
    Artifact,
    Metadata,
    Precision,
    file_digests,
)
from app.imaging import IMAGE_SIZE, to_network_input
from app.outputs import Golden, Outputs

TOLERANCE = 0.001


class FakeEngine:
    """Calls an image COVID-19 as probably as it is bright."""

    name = "openvino"
    precision: Precision = "f32"
    batch_size = 8
    streams = 1
    description = "made up, f32"

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        brightness = images.mean(axis=(1, 2, 3))
        probabilities = np.stack([1 - brightness, brightness], axis=1).astype(np.float32)
        cells = images[..., 0].reshape(len(images), 7, IMAGE_SIZE // 7, 7, IMAGE_SIZE // 7).mean(axis=(2, 4))
        return Outputs(probabilities, cells, cells.reshape(len(images), -1) * 10)


def metadata(**changes: Any) -> dict[str, Any]:
    """Contents of a valid ``metadata.json``, with changes."""
    valid = {
        "format_version": FORMAT_VERSION,
        "name": "fake",
        "version": 1,
        "backbone": "None",
        "recipe": "native",
        "note": "A fake.",
        "labels": ("non-COVID", "COVID-19"),
        "preprocessing_version": 1,
        "inputs": {"image": {"shape": (-1, IMAGE_SIZE, IMAGE_SIZE, 3)}},
        "outputs": {"probabilities": {"shape": (-1, 2)}},
        "temperature": 1,
        "calibration_bias": 0,
        "threshold": 0.5,
        "threshold_rule": "made up",
        "metrics": {},
        "tolerances": {"f32": TOLERANCE},
        "precisions": {},
        "gate": None,
        "config_digest": "",
        "data_digest": "",
        "git_commit": "",
        "libraries": {},
        "parameter_count": 0,
        "files": {},
    }
    return {**valid, **changes}


def artifact(**changes: Any) -> Artifact:
    """An artifact without a folder, for engines that do not look into it."""
    return Artifact(Path("nowhere"), Metadata.model_validate(metadata(**changes)), "0" * 64, "# A fake")


def golden() -> Golden:
    """Golden outputs of ``FakeEngine``."""
    squares = np.random.default_rng(0).integers(0, 100, (2, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    return Golden(squares, FakeEngine().infer(to_network_input(squares)))


def write_artifact(folder: Path, **changes: Any) -> Path:
    """Write a valid artifact folder, then put changes into its metadata."""
    for name in ("variables", EXTRA):
        (folder / name).mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"a graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(bytes(1000))
    (folder / MODEL_CARD).write_text("# A fake\n")
    golden().save(folder / GOLDEN)
    described = metadata(**{"files": file_digests(folder), **changes})
    (folder / METADATA).write_text(json.dumps(described))
    return folder
