"""Memory that was freed and that the C library keeps."""

import ctypes
import gc
import sys


def give_back_free_memory() -> None:
    """Let the system have what was freed: glibc keeps the many pieces of large uploads, and what large images took."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def tidy_up() -> None:
    """Collect garbage, and let the system have what was freed: for when nothing is asked for.

    What an exception holds together with its traceback, an upload among it, would wait for the next collection, which
    comes after so many allocations and not after so many bytes.
    """
    gc.collect()
    give_back_free_memory()
