"""A PyTorch weights file without PyTorch: the format of releases before 1.6, which ``torch.save`` still writes.

Three pickles (a magic number, the protocol, the system), the pickled state dictionary whose tensors name their
storages, a pickled list of these names, and then the storages' bytes. Source: ``torch/serialization.py``,
``_legacy_save``.
"""

import math
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import TrainingError

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a state dictionary by name.

    Nothing that the file says is executed: it may name tensors, their storages and ordered dictionaries alone.

    Raises:
        TrainingError: The file is missing or damaged, of the newer format, or holds something else.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (OSError, EOFError, pickle.UnpicklingError, struct.error, ValueError, KeyError, AttributeError) as error:
        raise TrainingError(f"{path} cannot be read as PyTorch weights of the older format: {error}.") from error


class _Tensor(NamedTuple):
    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Reads what tensors are made of, and nothing else."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"it holds {module}.{name}")

    def persistent_load(self, pid: Any) -> str:
        _, storage, key, *_ = pid
        self.dtypes[key] = _DTYPES[storage]
        return str(key)


def _read(file: IO[bytes]) -> dict[str, NDArray[Any]]:
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("it begins otherwise")
    for _ in ("protocol", "system"):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    storages = {key: _read_storage(file, unpickler.dtypes[key]) for key in _Unpickler(file).load()}
    return {name: _array(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _read_storage(file: IO[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    (count,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


def _array(tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """Lay a tensor out in C order: weights that were converted from TensorFlow are stored in other orders."""
    extent = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset < 0 or min(tensor.strides, default=0) < 0 or tensor.offset + extent >= len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    if math.prod(tensor.shape) > len(storage):
        raise ValueError("a tensor is larger than its storage")
    strides = [stride * storage.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides).copy()
