"""What can be seen of a service from outside: its processes, and what this machine allows a test to do to them."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx

from benchmarks.harness.servers import process_tree


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and these in turn; parents first."""
    return process_tree(pid)[1:]


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie, which waits for its parent alone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_seconds(pid: int) -> float:
    """What a process and those below it have used of the processor."""
    ticks = 0
    for process in process_tree(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def check_idle(pid: int) -> None:
    """Check that a service that has nothing to do does nothing."""
    before = cpu_seconds(pid)
    time.sleep(1)  # of which the processor's time is measured
    assert cpu_seconds(pid) - before < 0.5


def works(*command: str) -> bool:
    """Whether a command can be run here, by this user."""
    return (
        bool(shutil.which(command[0]))
        and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    )


def send_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each, as a terminal does to all of a process group."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def peak_memory_bytes(pid: int) -> int:
    """The largest resident memory that a process has had (VmHWM)."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])
