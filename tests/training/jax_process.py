"""``python -m tests.training.tiny`` on JAX where TensorFlow is not installed.

The file named by TINY_FED gets a line "epoch index" for each batch that the network was trained on.
"""

import importlib.machinery
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

FED: Final = "TINY_FED"


class WithoutTensorFlow(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        hidden = name.partition(".")[0] in ("tensorflow", "tensorboard", "tf_keras")
        return None if hidden else super().find_spec(name, path, target)


def record_batches(path: Path) -> None:
    from training.dataset import XrayDataset

    get = XrayDataset.__getitem__

    def recorded(self: XrayDataset, index: int) -> Any:
        if self._training:
            with path.open("a") as file:
                file.write(f"{self._epoch} {index}\n")
        return get(self, index)

    XrayDataset.__getitem__ = recorded  # type: ignore[method-assign]


def main() -> None:
    sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = WithoutTensorFlow
    import keras

    from tests.training import tiny

    assert keras.backend.backend() == "jax"
    if FED in os.environ:
        record_batches(Path(os.environ[FED]))
    tiny.main()


if __name__ == "__main__":
    main()
