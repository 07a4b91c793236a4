"""Memory that was freed and that the C library keeps."""

import ctypes
import sys


def give_back_free_memory() -> None:
    """Let the system have what was freed: glibc keeps the many pieces of large uploads, and what large images took."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
