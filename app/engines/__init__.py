"""Engines that run an exported SavedModel. Each is imported only when it is chosen."""

from pathlib import Path
from typing import Literal

from app.artifact import Artifact
from app.engines.base import Engine
from app.errors import EngineUnavailable

EngineName = Literal["openvino", "tensorflow"]

__all__ = ["Engine", "EngineName", "load_engine"]


def load_engine(name: EngineName, artifact: Artifact, *, threads: int = 0, cache_dir: Path | None = None) -> Engine:
    """Load an artifact into an engine and check that it reproduces the golden outputs.

    Args:
        name: Which engine.
        artifact: A verified model folder.
        threads: For one inference; 0 lets the engine choose.
        cache_dir: For compiled models; used by OpenVINO.

    Raises:
        EngineUnavailable: The engine's package is not installed.
        ArtifactError: The engine cannot read the model, or answers otherwise than when it was exported.
    """
    engine: Engine
    try:
        if name == "openvino":
            from app.engines.openvino import OpenVinoEngine

            engine = OpenVinoEngine(artifact, threads=threads, cache_dir=cache_dir)
        else:
            from app.engines.tensorflow import TensorFlowEngine

            engine = TensorFlowEngine(artifact, threads=threads)
    except ImportError as error:
        raise EngineUnavailable(
            f"The engine {name!r} needs the package {error.name!r}, which is not installed. Install the extra "
            f"{'serve' if name == 'openvino' else 'tensorflow'!r} or choose the other engine with CXR_ENGINE."
        ) from error
    artifact.check_golden(engine.infer, engine.precision)
    return engine
