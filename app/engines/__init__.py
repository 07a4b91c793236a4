"""Engines that run an exported SavedModel. Each is imported only when it is chosen."""

import logging
from pathlib import Path
from typing import Literal

from app.artifact import Artifact
from app.engines.base import Engine
from app.errors import ArtifactError, EngineUnavailable

EngineName = Literal["openvino", "tensorflow"]

__all__ = ["Engine", "EngineName", "load_engine"]

logger = logging.getLogger(__name__)


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
    engine = _create(name, artifact, threads, cache_dir)
    artifact.check_files()  # Once more: what the engine has just read is what was verified before.
    try:
        artifact.check_golden(engine.infer, engine.precision)
    except ArtifactError:
        if cache_dir is None:
            raise
        # The model's files are those that were exported; a damaged cached compilation is not noticed elsewhere.
        logger.warning("The model compiled anew: what %s holds may be damaged. Delete it if this repeats.", cache_dir)
        engine = _create(name, artifact, threads, None)
        artifact.check_golden(engine.infer, engine.precision)
    return engine


def _create(name: EngineName, artifact: Artifact, threads: int, cache_dir: Path | None) -> Engine:
    try:
        if name == "openvino":
            from app.engines.openvino import OpenVinoEngine

            return OpenVinoEngine(artifact, threads=threads, cache_dir=cache_dir)
        from app.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(artifact, threads=threads)
    except ImportError as error:
        raise EngineUnavailable(
            f"The engine {name!r} needs the package {error.name!r}, which is not installed. Install the extra "
            f"{'serve' if name == 'openvino' else 'tensorflow'!r} or choose the other engine with CXR_ENGINE."
        ) from error
