"""Engines that run an exported SavedModel. Each is imported only when it is chosen."""

from pathlib import Path
from typing import Literal

from app.artifact import Artifact, Precision
from app.engines.base import Engine
from app.engines.processor import has_amx_bf16, usable_cores
from app.errors import EngineUnavailable
from app.no_telemetry import forbid_telemetry

forbid_telemetry()  # Before the engines' modules, which are in this package, import OpenVINO.

EngineName = Literal["openvino", "tensorflow"]

__all__ = ["Engine", "EngineName", "load_engine", "usable_cores"]


def load_engine(
    name: EngineName,
    artifact: Artifact,
    *,
    precision: Precision | Literal["auto"] = "f32",
    threads: int = 0,
    streams: int = 0,
    batch_size: int = 1,
    cache_dir: Path | None = None,
) -> Engine:
    """Load an artifact into an engine and check that it reproduces the golden outputs, alone and in batches.

    Args:
        name: Which engine.
        artifact: A verified model folder.
        precision: Of the arithmetic; "auto": bf16 where the processor multiplies it in hardware and the artifact's
            record of it allows, else f32.
        threads: For inference; 0: one for each core that this process may use.
        streams: Batches computed beside each other; 0 lets the engine choose. Used by OpenVINO.
        batch_size: Images a call, besides 1.
        cache_dir: For compiled models; None: they are not kept. Used by OpenVINO.

    Raises:
        EngineUnavailable: The engine's package is not installed, or it cannot compute in this precision here.
        ArtifactError: The engine cannot read the model, it answers otherwise than when it was exported, or the
            artifact was not found to answer well enough in this precision.
    """
    if precision == "auto":
        precision = _fastest_precision(name, artifact)
    artifact.check_precision(precision)
    if name == "tensorflow" and precision != "f32":
        raise EngineUnavailable(f"The engine 'tensorflow' computes in f32; asked for was {precision}.")
    try:
        engine: Engine
        if name == "openvino":
            from app.engines.openvino import OpenVinoEngine

            engine = OpenVinoEngine(
                artifact,
                precision=precision,
                threads=threads,
                streams=streams,
                batch_size=batch_size,
                cache_dir=cache_dir,
            )
        else:
            from app.engines.tensorflow import TensorFlowEngine

            engine = TensorFlowEngine(artifact, threads=threads, batch_size=batch_size)
    except ImportError as error:
        raise EngineUnavailable(
            f"The engine {name!r} needs the package {error.name!r}, which is not installed. Install the extra "
            f"{'serve' if name == 'openvino' else 'tensorflow'!r} or choose the other engine with CXR_ENGINE."
        ) from error
    for size in sorted({1, batch_size}):
        artifact.check_golden(engine.infer, precision, size)
    return engine


def _fastest_precision(name: EngineName, artifact: Artifact) -> Precision:
    """Choose bf16 only with AMX: with a processor's other instructions for it f32 was measured to be faster."""
    record = artifact.metadata.precisions.get("bf16")
    return "bf16" if name == "openvino" and record and record.accepted and has_amx_bf16() else "f32"
