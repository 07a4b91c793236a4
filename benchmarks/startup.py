"""How long a start takes, and what it holds: ``.venv/serve/bin/python benchmarks/startup.py``.

Starts the service several times: without a compilation cache, then with one that the first of its starts
has filled. Prints seconds from process start to ``GET /readyz`` 200 and the peak resident memory, each as
median (minimum to maximum), and the ratio of the medians. Linux.
"""

import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROUNDS = 5


def start_once(cache_dir: str) -> tuple[float, float]:
    """Start the service and stop it.

    Args:
        cache_dir: For compiled models; "" for none.

    Returns:
        Seconds until it is ready, and its peak resident memory in MB.
    """
    environment = os.environ | {"CXR_PORT": "0", "CXR_CACHE_DIR": cache_dir, "CXR_LOG_LEVEL": "INFO"}
    begin = time.perf_counter()
    service = subprocess.Popen(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert service.stdout is not None
        address = re.search(r"http://\S+", service.stdout.readline())
        assert address, "the service did not start"
        with urllib.request.urlopen(f"{address[0]}/readyz") as answer:
            assert answer.status == 200
        seconds = time.perf_counter() - begin
        status = Path(f"/proc/{service.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak
        return seconds, int(peak[1]) / 1000
    finally:
        service.terminate()
        service.wait()


def describe(name: str, values: list[float], unit: str) -> float:
    """Print a row and return its median."""
    median = statistics.median(values)
    print(f"{name:34} {median:8.2f} {unit} ({min(values):.2f} to {max(values):.2f}, n={len(values)})")
    return median


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as cache:
        first = start_once(cache)
        starts = [(start_once(""), start_once(cache)) for _ in range(ROUNDS)]
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    cold = describe("ready, no cache", [without[0] for without, _ in starts], "s")
    warm = describe("ready, warm cache", [with_cache[0] for _, with_cache in starts], "s")
    print(f"{'ready, first start with a cache':34} {first[0]:8.2f} s")
    describe("peak memory, no cache", [without[1] for without, _ in starts], "MB")
    describe("peak memory, warm cache", [with_cache[1] for _, with_cache in starts], "MB")
    print(f"{'warm / no cache':34} {warm / cold:8.2f}")


def processor() -> str:
    """Name the processor."""
    match = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return match[1] if match else platform.processor()


if __name__ == "__main__":
    main()
