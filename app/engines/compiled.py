"""Models compiled by OpenVINO, kept between starts in private files.

OpenVINO's own cache keys a model by its path and answers with an older one that lay there. Here a compiled model
is kept under everything that decides it, in a folder that nobody else can write to, and a file's name holds the
SHA-256 of its content. Weights are mapped into memory from such a file alone and never from the model folder:
whatever happens to that folder later, what is served stays what was verified.
"""

import hashlib
import logging
import mmap
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import openvino as ov

from app.artifact import Artifact
from app.imaging import IMAGE_SIZE

logger = logging.getLogger(__name__)

_RELEASE_SECONDS: Final = 0.02

_PARTIAL: Final = "partial-"
_ABANDONED_SECONDS: Final = 600
"""After which what is half written belongs to a process that was killed: to write a model takes seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What is to be compiled.

    Attributes:
        artifact: The model folder.
        path: What OpenVINO reads in it.
        properties: Of OpenVINO's ``compile_model``, by the batch size to compile for.
    """

    artifact: Artifact
    path: Path
    properties: Mapping[int, Mapping[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A compiled model, and the memory that it looks its weights up in."""

    model: ov.CompiledModel
    memory: mmap.mmap | None = None


def load_compiled(core: ov.Core, source: Source, cache_dir: Path | None) -> dict[int, Compiled]:
    """Compile a model for each of some fixed batch sizes, or take what was compiled at an earlier start.

    A network of fixed shape runs faster than one that takes any batch: the shipped one by a quarter.

    Args:
        core: OpenVINO.
        source: What to compile.
        cache_dir: Where compiled models are kept; None: nowhere.

    Returns:
        By batch size.

    Raises:
        RuntimeError: OpenVINO cannot read or compile the model.
        ArtifactError: The model folder is no longer what was verified.
    """
    folders = {size: cache_dir and _private_folder(cache_dir, source, core, size) for size in source.properties}
    compiled = _import_all(core, source, folders)
    for size, model in _compile(core, source, [size for size in folders if size not in compiled]):
        folder = folders[size]
        if folder is None or not _keep(model, folder):
            compiled[size] = Compiled(model)
        del model  # Not two of them beside each other.
    # Mapped from its file, as at the next start, a model takes less memory than as it was compiled.
    compiled |= _import_all(core, source, {size: folders[size] for size in folders if size not in compiled})
    lost = [size for size in folders if size not in compiled]
    return compiled | {size: Compiled(model) for size, model in _compile(core, source, lost)}


def _compile(core: ov.Core, source: Source, sizes: Sequence[int]) -> Iterator[tuple[int, ov.CompiledModel]]:
    if not sizes:
        return
    model = core.read_model(source.path)
    source.artifact.check_files()  # Once more: what has just been read is what was verified before.
    for size in sizes:
        model.reshape({"image": [size, IMAGE_SIZE, IMAGE_SIZE, 3]})
        yield size, core.compile_model(model, "CPU", dict(source.properties[size]))


def _import_all(core: ov.Core, source: Source, folders: Mapping[int, Path | None]) -> dict[int, Compiled]:
    """Import what is kept, each model on a thread of its own: one alone leaves most cores idle."""
    kept = {size: folder for size, folder in folders.items() if folder}
    with ThreadPoolExecutor(len(kept) or 1) as threads:
        found = threads.map(lambda size: _import(core, kept[size], source.properties[size]), kept)
        return {size: compiled for size, compiled in zip(kept, found, strict=True) if compiled}


def _import(core: ov.Core, folder: Path, properties: Mapping[str, str]) -> Compiled | None:
    """Map a compiled model that was kept; None where there is none that is whole."""
    for path in folder.glob("*.blob"):
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != path.stem:
                    raise ValueError("its content is not what was written")
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            tensor = ov.Tensor(np.frombuffer(mapping, np.uint8), shared_memory=True)
            with _released_as_read(mapping):
                return Compiled(core.import_model(tensor, "CPU", dict(properties)), mapping)
        except (OSError, ValueError, RuntimeError) as error:
            logger.warning("The compiled model %s cannot be used (%s): it is compiled anew.", path, _first_line(error))
            with suppress(OSError):
                path.unlink()
    return None


@contextmanager
def _released_as_read(mapping: mmap.mmap) -> Iterator[None]:
    """Give the pages of a mapped file back while they are read once.

    Most weights are copied into the layout that the processor likes best; what was read of them lies in memory a second
    time. What is looked up again is read again.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        yield
        return
    done = threading.Event()

    def release() -> None:
        while not done.wait(_RELEASE_SECONDS):
            mapping.madvise(mmap.MADV_DONTNEED)

    thread = threading.Thread(target=release, name="release")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        mapping.madvise(mmap.MADV_DONTNEED)


def _keep(model: ov.CompiledModel, folder: Path) -> bool:
    """Write a compiled model; say whether there was room and leave to."""
    with model.export_model() as exported, exported.getbuffer() as content:
        try:
            # Of a name that no other process can have, not even the one of the same number in another container.
            _remove_abandoned(folder)
            with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder) as own:
                partial = Path(own, "blob")
                partial.touch(0o600)
                partial.write_bytes(content)
                partial.replace(folder / f"{hashlib.sha256(content).hexdigest()}.blob")
        except OSError as error:
            logger.warning(
                "Compiled models cannot be kept in %s (%s): every start compiles anew.", folder, error.strerror
            )
            return False
    return True


def _remove_abandoned(folder: Path) -> None:
    oldest = time.time() - _ABANDONED_SECONDS
    for partial in folder.glob(f"{_PARTIAL}*"):
        with suppress(OSError):  # Others may be about it too.
            if partial.stat().st_mtime < oldest:
                shutil.rmtree(partial)


def _private_folder(cache_dir: Path, source: Source, core: ov.Core, size: int) -> Path | None:
    """Make the folder of exactly this model, version of OpenVINO, processor, batch size and configuration."""
    device = (
        str(core.get_property("CPU", "FULL_DEVICE_NAME")),
        str(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
    )
    relative = source.path.relative_to(source.artifact.path).as_posix()
    properties = repr(sorted(source.properties[size].items()))
    key = "\n".join((source.artifact.digest, relative, ov.get_version(), *device, str(size), properties))
    folder = cache_dir / hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        logger.warning("The model cache %s cannot be used (%s): every start compiles anew.", cache_dir, error.strerror)
        return None
    writable = os.access(folder, os.W_OK | os.X_OK)
    private = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and status.st_uid == os.geteuid()
    if not (writable and private):
        reason = "others may write to it" if writable else "it is not writable"
        logger.warning("The model cache %s cannot be used (%s): every start compiles anew.", folder, reason)
        return None
    return folder


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
