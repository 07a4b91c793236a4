"""Where and with what something was computed, for the record."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

LIBRARIES: Final = ("keras", "tensorflow", "jax", "openvino", "numpy", "pillow", "pydicom")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide a result, where they are installed."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def git_commit() -> str:
    """Return the commit of the code, with ``-dirty`` where files differ from it; "unknown" outside a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """Return the processor's name and how many of its threads this process may use."""
    names = [line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {usable_threads()} threads"


def usable_threads() -> int:
    """Return how many of the processor's threads this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def training_environment() -> dict[str, str]:
    """Return versions, backend, devices and commit of this process, by name."""
    import keras

    return {
        "device": _devices(keras.backend.backend()),
        "processor": processor(),
        "backend": keras.backend.backend(),
        **library_versions(),
        "commit": git_commit(),
    }


def can_export() -> bool:
    """Say whether a model can be exported here: by TensorFlow, as Keras' backend."""
    if not find_spec("tensorflow"):
        return False
    import keras

    return bool(keras.backend.backend() == "tensorflow")


def _devices(backend: str) -> str:
    """Name the accelerators that the backend sees."""
    if backend == "tensorflow":
        import tensorflow as tf

        found = [
            str(tf.config.experimental.get_device_details(device).get("device_name", device.name))
            for device in tf.config.list_physical_devices("GPU")
        ]
    else:
        import jax

        found = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    return ", ".join(found) or "CPU"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
