"""What a service's processes hold, over time, and whether it grows."""

import contextlib
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness.servers import process_tree


@dataclass(frozen=True)
class Sample:
    """What a process and all below it hold at a moment.

    Attributes:
        seconds: Since the beginning.
        memory_mb: Sum of the proportional set sizes in MB (1e6 bytes): a page that processes share counts once, which
            the sum of resident sizes would count for each forked decoder.
        first_mb: Of it, what the first process holds: the service without its decoders.
        descriptors: Open file descriptors.
        threads: Of all processes.
        processes: All of them.
    """

    seconds: float
    memory_mb: float
    first_mb: float
    descriptors: int
    threads: int
    processes: int


def take_sample(pid: int, begin: float) -> Sample:
    """Look at a process and all below it.

    Args:
        pid: Of the first process.
        begin: Of ``time.monotonic``.
    """
    memory, descriptors, threads = list[int](), 0, 0
    for process in process_tree(pid):
        folder = Path(f"/proc/{process}")
        with contextlib.suppress(OSError):  # It has just ended.
            found = re.search(r"^Pss:\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE)
            memory.append(int(found[1]) * 1024 if found else 0)
            descriptors += len(list((folder / "fd").iterdir()))
            threads += len(list((folder / "task").iterdir()))
    return Sample(time.monotonic() - begin, sum(memory) / 1e6, memory[0] / 1e6, descriptors, threads, len(memory))


@dataclass(frozen=True)
class Growth:
    """How much memory grew from the first of some samples to the last, as fractions.

    Attributes:
        of_line: By the line of least squares through all samples.
        of_medians: From the median of the first fifth to the median of the last.
    """

    of_line: float
    of_medians: float


def memory_growth(samples: Sequence[Sample]) -> Growth:
    """Compute how much the memory of at least five samples grew."""
    seconds = np.array([sample.seconds for sample in samples])
    memory = np.array([sample.memory_mb for sample in samples])
    slope, begin = np.polyfit(seconds - seconds[0], memory, 1)
    fifth = len(samples) // 5
    first, last = statistics.median(memory[:fifth]), statistics.median(memory[-fifth:])
    return Growth(float(slope * (seconds[-1] - seconds[0]) / begin), float(last / first - 1))
