"""The real service, ``python -m app``, in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

ROOT: Final = Path(__file__).parents[2]
_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 30
_ROUNDS: Final = 10

NO_DISK: Final = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
"""Prelude under which no file can be written, not even by root."""

NO_TENSORFLOW: Final = "import sys; sys.modules['tensorflow'] = None"
"""Prelude under which TensorFlow is not installed, as far as an import can tell."""


class Server:
    """A running service; entered as a context manager it is stopped at the end.

    Attributes:
        url: Where it listens.
        client: An HTTP client of it.
        pid: Of its process.
        stdout, stderr: Lines written so far; complete once it has stopped.
    """

    def __init__(self, prelude: str = "", *, wrapper: Sequence[str] = (), **settings: object) -> None:
        """Start, and wait until it says that it is ready.

        Args:
            prelude: Python code that its process runs first.
            wrapper: Command that runs the one that follows it, in its own process.
            **settings: ``CXR_`` settings by field name, and other environment variables in capitals.
        """
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._news = threading.Condition()
        self._process = launch(prelude, wrapper=wrapper, stdout=-1, stderr=-1, **settings)
        outputs = ((self._process.stdout, self.stdout), (self._process.stderr, self.stderr))
        self._readers = [threading.Thread(target=self._read, args=output) for output in outputs]
        for reader in self._readers:
            reader.start()
        ready = self._wait_for_line(self.stdout, r" is ready at (http://\S+) - ")
        if not ready:
            self._process.kill()
            self._finish()
            raise AssertionError("The service did not start:\n" + "".join(self.stderr))
        self.url = ready[1]
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        url = httpx.URL(self.url)
        return url.host, url.port or 80

    @property
    def pid(self) -> int:
        """Its process, which must still run."""
        assert self._process.poll() is None, "".join(self.stderr)
        return self._process.pid

    def metric(self, name: str, /, **labels: str) -> float:
        """Sum of the samples of this name that have these labels."""
        return metric(self.client, name, **labels)

    def post_together(self, images: Sequence[bytes]) -> list[httpx.Response]:
        """Post images at the same time, and again until at least two of them were computed in one batch."""

        def counts() -> tuple[float, float]:
            return self.metric("cxr_batch_size_count"), self.metric("cxr_batch_size_sum")

        with ThreadPoolExecutor(len(images)) as callers:
            for _ in range(_ROUNDS):
                batches, computed = counts()
                answers = list(callers.map(lambda data: self.client.post("/predict?explain=1", content=data), images))
                more_batches, more_computed = counts()
                if more_batches - batches < more_computed - computed:
                    return answers
        raise AssertionError(f"In {_ROUNDS} rounds no two of {len(images)} images were computed together.")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal if it still runs; answer its exit code."""
        self.client.close()
        self._process.send_signal(number)
        return self._finish()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal and wait for nothing."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait for the end of what was sent a signal; answer its exit code."""
        return self._finish()

    def log(self) -> list[dict[str, Any]]:
        """The log so far, parsed; complete once it has stopped."""
        return [json.loads(line) for line in self.stderr if line]

    def wait_for_log(self, message: str) -> dict[str, Any]:
        """The first line of the log with this in its message."""
        assert self._wait_for_line(self.stderr, re.escape(message)), "".join(self.stderr)
        return next(line for line in self.log() if message in line["message"])

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _finish(self) -> int:
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        for reader in self._readers:
            reader.join()
        return code

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    lines.append(line)
                    self._news.notify_all()
        with self._news:
            lines.append("")
            self._news.notify_all()

    def _wait_for_line(self, lines: list[str], pattern: str) -> re.Match[str] | None:
        """Wait for a line that matches, or for the end of the output."""

        def find() -> re.Match[str] | None:
            return next((match for line in lines if (match := re.search(pattern, line))), None)

        with self._news:
            self._news.wait_for(lambda: find() or lines[-1:] == [""], _START_SECONDS)
            return find()


def metric(client: httpx.Client, name: str, /, **labels: str) -> float:
    """Sum of a service's samples of this name that have these labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def launch(
    prelude: str = "",
    *,
    wrapper: Sequence[str] = (),
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    **settings: object,
) -> subprocess.Popen[str]:
    """Start a service, as ``Server`` does, and do not wait for it."""
    return subprocess.Popen(
        [*wrapper, *_command(prelude)],
        cwd=ROOT,
        env=_environment(settings),
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


def refused(prelude: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    """Start a service that is expected to end by itself, and wait for its end."""
    return subprocess.run(
        _command(prelude),
        cwd=ROOT,
        env=_environment(settings),
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
        check=False,
    )


def _command(prelude: str) -> list[str]:
    code = f"{prelude}\nimport runpy; runpy.run_module('app', run_name='__main__', alter_sys=True)"
    return [sys.executable, "-c", code] if prelude else [sys.executable, "-m", "app"]


def _environment(settings: dict[str, object]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    given = {name if name.isupper() else f"CXR_{name.upper()}": str(value) for name, value in settings.items()}
    # The images of most tests are made in code: a gate that was fitted on radiographs may refuse them.
    return {**inherited, "CXR_PORT": "0", "CXR_INPUT_GATE": "off", **given}
