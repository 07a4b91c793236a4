"""Load from wrk, a generator in C that costs little, and the check of every answer.

wrk comes from the system's packages. Its percentiles are of the time from the start of a request's writing; an answer
that took more than twice the mean is counted as several, as if requests had been due meanwhile (its correction of
"coordinated omission"), which can only raise them.
"""

import re
import resource
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.harness.caller import Caller, WrongAnswers, multipart
from benchmarks.harness.radiographs import Radiographs
from benchmarks.harness.reference import Reference
from benchmarks.harness.turns import steady_rate

_SCRIPT: Final = Path(__file__).with_name("load.lua")
_DRAIN_SECONDS: Final = 60


@dataclass(frozen=True)
class Round:
    """What one round of load found.

    Attributes:
        rate: Images a second.
        p50_ms: Median time of a request in ms; None without requests, as in the bare loop.
        p99_ms: Most time of 99 in 100 requests.
        generator_cores: CPU seconds that wrk used, over the time.
    """

    rate: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    generator_cores: float = 0


class Load:
    """Requests that post images to ``/predict``, written down for wrk."""

    def __init__(self, folder: Path, images: Radiographs, reference: Reference, body: str = "multipart") -> None:
        """Write the requests' bodies and the plan.

        Args:
            folder: An empty one.
            images: Sent in turn.
            reference: What the answers must be.
            body: "multipart" or "bytes".

        Raises:
            SystemExit: wrk is not installed.
        """
        wrk = shutil.which("wrk")
        if wrk is None:
            raise SystemExit("The load comes from wrk, which is not installed: apt-get install wrk.")
        self._wrk, self._images, self._reference = wrk, images, reference
        encoded = [multipart(file) if body == "multipart" else file for file in images.files]
        self._bodies = encoded
        self._content_type = Caller.MULTIPART if body == "multipart" else "application/octet-stream"
        paths = [folder / f"{index}.body" for index in range(len(encoded))]
        for path, content in zip(paths, encoded, strict=True):
            path.write_bytes(content)
        self._plan = folder / "plan.lua"
        self._plan.write_text(_plan(paths, self._content_type, reference))

    def check(self, url: str, callers: int) -> None:
        """Post every image from so many callers at once: each must get the answer to its own image.

        Raises:
            WrongAnswers: One did not.
        """

        def call(number: int) -> None:
            with Caller(url) as caller:
                for step in range(len(self._bodies)):
                    index = (number + step) % len(self._bodies)
                    probability = caller.probability(self._bodies[index], self._content_type, self._reference.label)
                    if not self._reference.agrees(index, probability):
                        expected = self._reference.probabilities[index]
                        raise WrongAnswers(f"{url} answered {probability:.4f}, the engine {expected:.4f}.")

        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(call, range(callers)))

    def run(self, url: str, callers: int, seconds: int) -> Round:
        """Post from so many connections, each as soon as it has its answer.

        Raises:
            WrongAnswers: An answer was not 200, or none of the engine's.
        """
        command = [self._wrk, "-t1", f"-c{callers}", f"-d{seconds}s", "--timeout", "120s", "-s", str(_SCRIPT)]
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        output = subprocess.run(
            [*command, f"{url}/predict", "--", str(self._plan)], capture_output=True, text=True, check=True
        ).stdout
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
        found = dict(re.findall(r"^(connection_errors|wrong|first_wrong|p50|p99|times) (.*)$", output, re.MULTILINE))
        if found["wrong"] != "0" or found["connection_errors"] != "0":
            raise WrongAnswers(
                f"{url}: {found['wrong']} wrong answers and {found['connection_errors']} connection errors "
                f"among {len(found['times'].split())}. The last: {found['first_wrong']}"
            )
        self._drain(url)
        return Round(
            rate=steady_rate([float(moment) for moment in found["times"].split()]),
            p50_ms=float(found["p50"]),
            p99_ms=float(found["p99"]),
            generator_cores=(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / wall,
        )

    def _drain(self, url: str) -> None:
        """Wait until what wrk left in flight is done with: one more answer comes after it."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while True:
            try:
                with Caller(url) as caller:
                    caller.probability(self._bodies[0], self._content_type, self._reference.label)
                return
            except WrongAnswers:  # Still too busy.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _plan(bodies: list[Path], content_type: str, reference: Reference) -> str:
    label = re.sub(r"(\W)", r"%\1", reference.label)
    pattern = f'"{label}"%s*:%s*([%d.eE+-]+)'
    return "\n".join(
        (
            "return {",
            f"  bodies = {{ {', '.join(_quoted(str(path)) for path in bodies)} }},",
            f"  content_type = {_quoted(content_type)},",
            f"  pattern = {_quoted(pattern)},",
            f"  expected = {{ {', '.join(map(repr, reference.probabilities))} }},",
            f"  tolerance = {reference.tolerance!r},",
            "}",
        )
    )


def _quoted(text: str) -> str:
    return "[==[" + text + "]==]"
