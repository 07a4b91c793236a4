"""What a service has started, as the kernel sees it. Linux alone."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and these in turn; parents first."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # The thread has just ended.
                found += map(int, children.read_text().split())
    return found[1:]


def lives(pid: int) -> bool:
    """Whether a process runs, and not only waits for its parent to hear of its end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


def send_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each, as a terminal does to all of a process group."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def peak_memory_bytes(pid: int) -> int:
    """The largest resident memory that a process has had (VmHWM)."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])
