"""Servers in processes of their own, of which one at a time is let run."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from benchmarks.harness.caller import Caller, WrongAnswers

ROOT: Final = Path(__file__).parents[2]
_START_SECONDS: Final = 180
_STOP_SECONDS: Final = 15
_SHOWN_LINES: Final = 4


class ServerFailed(SystemExit):
    """A server did not become ready; the message has the end of its log.

    Where nothing catches it, it ends the benchmark with its message.
    """


class Server:
    """A server and the processes that it starts; entered as a context manager it is stopped at the end.

    Attributes:
        pid: Of its first process.
        url: Where it listens, once it is ready.
        ready_seconds: From the start of its process until it was ready.
    """

    def __init__(self, command: list[str], log: Path, environment: dict[str, str], port: int | None = None) -> None:
        """Start it and wait until it is ready.

        Args:
            command: What to run, in the repository's root.
            log: File for what it writes; its folder is also that of temporary files.
            environment: Added to this process's own, of which ``CXR_`` variables are left out, and the one that
                forbids bytecode files: an installation has them, and a start without takes a second longer.
            port: Where it will answer ``GET /readyz``; None where it prints its address, as the
                service does.

        Raises:
            ServerFailed: It ended, or took too long.
        """
        self._log = log
        left_out = ("CXR_", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        with log.open("wb") as output:
            begin = time.perf_counter()
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=inherited | {"PYTHONPATH": str(ROOT), "TMPDIR": str(log.parent)} | environment,
                stdout=output if port else subprocess.PIPE,
                stderr=output,
                text=True,
            )
        self.pid = self._process.pid
        try:
            self.url = f"http://127.0.0.1:{port}" if port else self._announced()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self.ready_seconds = time.perf_counter() - begin

    def pause(self) -> None:
        """Stop its processes where they are, so that they cost nothing."""
        _signal(process_tree(self.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        _signal(process_tree(self.pid), signal.SIGCONT)

    def peak_memory_mb(self) -> float:
        """Return the largest resident memory that its first process has had (VmHWM), in MB (1e6 bytes)."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024 / 1e6

    def stop(self) -> None:
        """End it, and whatever it started."""
        if self._process.stdout:
            self._process.stdout.close()
        processes = process_tree(self.pid)
        _signal(processes, signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _signal(processes[1:], signal.SIGKILL)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _announced(self) -> str:
        assert self._process.stdout
        address = re.search(r"http://\S+", self._process.stdout.readline())
        if not address:
            raise self._failed("ended before it was ready")
        return address[0]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not _is_ready(self.url):
            if self._process.poll() is not None:
                raise self._failed("ended before it was ready")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready after {_START_SECONDS} s")
            time.sleep(0.02)

    def _failed(self, how: str) -> ServerFailed:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return ServerFailed(f"It {how}; its log ends: {' | '.join(lines[-_SHOWN_LINES:])}")


def start_service(model: Path, log: Path, *, module: str = "app", **settings: object) -> Server:
    """Start the service of this repository, without its input gate: the images of benchmarks are made in code.

    Args:
        model: Its ``CXR_MODEL``.
        log: File for its log.
        module: What to run; it must announce itself as the service does.
        **settings: Other ``CXR_`` settings by field name.
    """
    given = {"model": model, "port": 0, "input_gate": "off", **settings}
    environment = {f"CXR_{name.upper()}": str(value) for name, value in given.items()}
    return Server([sys.executable, "-m", module], log, environment)


def admit(callers: int) -> dict[str, int]:
    """Give the settings under which the service refuses none of so many callers, nor those who come as they leave."""
    return {"max_queue": max(64, 2 * callers), "max_wait_ms": 600_000}


def process_tree(pid: int) -> list[int]:
    """List a process and its descendants, parents first: BentoML's workers are in sessions of their own."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # The thread has just ended.
                found += map(int, children.read_text().split())
    return found


def end_in_order_when_terminated() -> None:
    """Make SIGTERM an exit that stops the servers: one that waits for its turn would stay stopped for ever."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated."))


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _is_ready(url: str) -> bool:
    try:
        with Caller(url) as caller:
            caller.send("GET", "/readyz")
    except (OSError, http.client.HTTPException, WrongAnswers):
        return False
    return True


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
