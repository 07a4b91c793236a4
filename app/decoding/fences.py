"""What a decoder may not do, held by the kernel and not by its own code."""

import ctypes
import gc
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.imaging.grey import DecodeLimits

BYTES_PER_PIXEL: Final = 20
"""Most memory that a format takes, of the declared pixels. Source: measured over all formats at 40 megapixels, beyond
the upload: WebP with transparency 20.0, JPEG 2000 in colour 15.4, the others at most 12 (docs/decoding.md)."""

UPLOAD_COPIES: Final = 4
"""Most copies of the upload: itself, pydicom's pixel data, their frame, and JPEG 2000 without its optional segments."""

_KEPT_BYTES: Final = 64 * 2**20
"""Freed memory that the allocator keeps for the next image: to be given and cleared anew by the kernel, it took a third
of the processor time of a JPEG of 3000 x 3000 pixels, and of one of 1024 x 1024 too."""

SPARE_BYTES: Final = _KEPT_BYTES + 64 * 2**20
"""For all else: what the allocator keeps, and what does not grow with the image."""

ENVIRONMENT: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES // 2),  # 32 MiB, the most that glibc takes
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
    "OPENBLAS_NUM_THREADS": "1",  # only a process of one thread may be forked
}
"""Of the nursery, read when libraries start."""

_DESCRIPTORS: Final = 3  # its connection as standard input, /dev/null as output and error
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def memory_bytes(limits: DecodeLimits) -> int:
    """Return the memory that one decoder may take for images within the limits, beyond what it starts with."""
    return BYTES_PER_PIXEL * limits.max_pixels + UPLOAD_COPIES * limits.max_bytes + SPARE_BYTES


def raise_fences(limits: DecodeLimits, parent: int) -> None:
    """Fence this process in, for the rest of its life.

    No core dump, no byte into a file, and on Linux: no file or socket opened, no privilege gained, no memory beyond
    ``memory_bytes``, the first to go where the machine's memory ends, and dead with its parent.

    Args:
        limits: Decide the memory.
        parent: Process id of the process that forked this one.
    """
    gc.freeze()  # What the nursery imported is never garbage, and stays shared.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        _raise_linux_fences(limits, parent)


def _raise_linux_fences(limits: DecodeLimits, parent: int) -> None:
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before it was watched.
        os._exit(0)
    with suppress(OSError):  # Where /proc is read-only the kernel chooses by size.
        Path("/proc/self/oom_score_adj").write_text("1000")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + memory_bytes(limits)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        allowed = min(allowed, most)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
