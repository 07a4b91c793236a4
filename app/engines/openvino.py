"""Run a SavedModel with OpenVINO, which reads it without TensorFlow."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from app.artifact import INT8_MODEL, Artifact, Precision
from app.engines.compiled import Compiled, Source, load_compiled
from app.engines.processor import usable_cores
from app.errors import ArtifactError, EngineUnavailable, InferenceFailed
from app.outputs import Outputs

_THREADS_A_STREAM: Final = 4
"""Source: OpenVINO's guide to streams, 1 to 4 threads each. On two cores one stream was as fast as two."""


class OpenVinoEngine:
    """A model compiled for one image and for a batch of fixed size."""

    name = "openvino"

    def __init__(
        self,
        artifact: Artifact,
        *,
        precision: Precision = "f32",
        threads: int = 0,
        streams: int = 0,
        batch_size: int = 1,
        cache_dir: Path | None = None,
    ) -> None:
        """Read and compile an artifact, or take what an earlier start compiled of it.

        Args:
            artifact: A verified model folder.
            precision: Of the arithmetic.
            threads: For inference; 0: one for each core that this process may use.
            streams: Batches computed beside each other; 0: one for every four threads.
            batch_size: Images a call, besides 1.
            cache_dir: Where compiled models are kept for the next start; None: nowhere.

        Raises:
            EngineUnavailable: The processor does not compute in this precision.
            ArtifactError: OpenVINO cannot read the model.
        """
        core = ov.Core()
        _require(precision, core)
        core.set_property({"ENABLE_MMAP": False})  # The model folder is read once and never mapped.
        threads = threads or usable_cores()
        self.precision, self.batch_size = precision, batch_size
        self.streams = streams or max(1, threads // _THREADS_A_STREAM)
        # Besides batches, one image has all threads to itself.
        properties = {
            size: _properties(precision, threads, 1 if size < batch_size else self.streams) for size in (1, batch_size)
        }
        path = artifact.path / INT8_MODEL if precision == "int8" else artifact.path
        try:
            compiled = load_compiled(core, Source(artifact, path, properties), cache_dir)
        except RuntimeError as error:
            raise ArtifactError(f"OpenVINO cannot read the model in {path}: {_last_line(error)}") from error
        self._calls = {size: _Calls(model, self.streams) for size, model in compiled.items()}
        kept = all(model.memory for model in compiled.values())
        self.description = (
            f"OpenVINO {ov.get_version()}, CPU, {precision}, {threads} threads, {self.streams} streams, "
            f"batches of {batch_size}, {'cached compilation' if kept else 'no compilation cache'}"
        )

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run the network; see ``Engine.infer``."""
        size = self.batch_size
        whole = len(images) - len(images) % size
        steps = [images[start : start + size] for start in range(0, whole, size)]
        steps += [images[start : start + 1] for start in range(whole, len(images))]
        try:
            return Outputs.concatenate([self._calls[len(step)].infer(step) for step in steps])
        except RuntimeError as error:
            raise InferenceFailed(f"OpenVINO failed on a batch of shape {images.shape}: {_last_line(error)}") from error


class _Calls:
    """As many inference requests of one compiled model as run beside each other."""

    def __init__(self, compiled: Compiled, streams: int) -> None:
        self._compiled = compiled
        self._idle: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.model.create_infer_request())

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        with self._request() as request:
            result = request.infer({"image": images}, share_inputs=True)
            return Outputs(*(np.array(result[name]) for name in ("probabilities", "heatmap", "features")))

    @contextmanager
    def _request(self) -> Iterator[ov.InferRequest]:
        request = self._idle.get()
        try:
            yield request
        finally:
            self._idle.put(request)


def _properties(precision: Precision, threads: int, streams: int) -> dict[str, str]:
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": str(streams),
    }


def _require(precision: Precision, core: ov.Core) -> None:
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        raise EngineUnavailable(
            f"The precision bf16 was asked for; this processor ({core.get_property('CPU', 'FULL_DEVICE_NAME')}) "
            "does not compute in it. Choose auto or f32."
        )


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
