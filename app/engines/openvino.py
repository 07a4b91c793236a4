"""Run a SavedModel with OpenVINO, which reads it without TensorFlow."""

import hashlib
import logging
import os
import threading
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from app.artifact import Artifact, Outputs
from app.errors import ArtifactError, InferenceFailed

logger = logging.getLogger(__name__)


class OpenVinoEngine:
    """One compiled model and one inference request, used by one thread at a time."""

    name = "openvino"

    def __init__(self, artifact: Artifact, *, threads: int = 0, cache_dir: Path | None = None) -> None:
        """Read and compile an artifact in float32.

        Args:
            artifact: A verified model folder.
            threads: For one inference; 0 lets OpenVINO choose.
            cache_dir: Where compiled models are kept for the next start; None: nowhere.

        Raises:
            ArtifactError: OpenVINO cannot read the model.
        """
        self.precision = "f32"
        core = ov.Core()
        # A memory-mapped file could change or shrink under the served model: read it once instead.
        core.set_property({"ENABLE_MMAP": False})
        properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            properties["INFERENCE_NUM_THREADS"] = str(threads)
        private_cache = _private_cache(cache_dir, artifact, core, properties) if cache_dir else None
        if private_cache:
            properties["CACHE_DIR"] = str(private_cache)
        try:
            self._model = core.compile_model(artifact.path, "CPU", properties)
        except RuntimeError as error:
            raise ArtifactError(f"OpenVINO cannot read the model in {artifact.path}: {_last_line(error)}") from error
        self._request = self._model.create_infer_request()
        self._lock = threading.Lock()
        cached = "cached compilation" if private_cache else "no compilation cache"
        self.description = f"OpenVINO {ov.get_version()}, CPU, {self.precision}, {cached}"

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run the network; see ``Engine.infer``."""
        try:
            with self._lock:
                result = self._request.infer({"image": images}, share_inputs=True)
                return Outputs(*(np.array(result[name]) for name in ("probabilities", "heatmap", "features")))
        except RuntimeError as error:
            raise InferenceFailed(f"OpenVINO failed on a batch of shape {images.shape}: {_last_line(error)}") from error


def _private_cache(cache_dir: Path, artifact: Artifact, core: ov.Core, properties: dict[str, str]) -> Path | None:
    """Make the cache folder of exactly this model, version, processor and configuration.

    OpenVINO's own key is the model's path: it would answer with an older model that lay there.
    """
    device = (
        str(core.get_property("CPU", "FULL_DEVICE_NAME")),
        str(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
    )
    key = "\n".join((artifact.digest, ov.get_version(), *device, repr(sorted(properties.items()))))
    folder = cache_dir / hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        logger.warning("The model cache %s is not writable: this start and the next compile the model anew.", cache_dir)
        return None
    return folder


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
