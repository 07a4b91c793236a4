"""Run a SavedModel with TensorFlow itself: the reference that other engines are held to."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.artifact import Artifact, Precision
from app.errors import ArtifactError, InferenceFailed
from app.outputs import Outputs


class TensorFlowEngine:
    """The signature ``serving_default`` of a SavedModel."""

    name = "tensorflow"

    precision: Precision = "f32"
    streams = 1

    def __init__(self, artifact: Artifact, *, threads: int = 0, batch_size: int = 1) -> None:
        """Load an artifact.

        Args:
            artifact: A verified model folder.
            threads: For one operation; 0 lets TensorFlow choose. Counts only before TensorFlow's first use.
            batch_size: Images that a batch should have; any number is computed in one call.

        Raises:
            ArtifactError: TensorFlow cannot read the model.
        """
        self.batch_size = batch_size
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        try:
            self._module = tf.saved_model.load(str(artifact.path))
            self._signature = self._module.signatures["serving_default"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ArtifactError(f"TensorFlow cannot read the model in {artifact.path}: {error}") from error
        artifact.check_files()  # Once more: what has just been read is what was verified before.
        self.description = f"TensorFlow {tf.__version__}, {self.precision}"

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run the network; see ``Engine.infer``."""
        try:
            result = self._signature(image=tf.constant(images))
        except tf.errors.OpError as error:
            raise InferenceFailed(f"TensorFlow failed on a batch of shape {images.shape}: {error.message}") from error
        return Outputs(*(result[name].numpy() for name in ("probabilities", "heatmap", "features")))
