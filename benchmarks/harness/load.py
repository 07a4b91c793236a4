"""Load from wrk, a generator in C that costs little, and the check of every answer.

wrk comes from the system's packages. Its percentiles are of the time from the start of a request's writing; an answer
that took more than twice the mean is counted as several, as if requests had been due meanwhile (its correction of
"coordinated omission"), which can only raise them.
"""

import re
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.harness.caller import Caller, WrongAnswers, encode_body
from benchmarks.harness.radiographs import Radiographs
from benchmarks.harness.reference import Reference
from benchmarks.harness.turns import print_row, steady_rate

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
        answers: How many there were.
    """

    rate: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    generator_cores: float = 0
    answers: int = 0


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
        self._wrk, self._reference = wrk, reference
        self._requests = [encode_body(file, body) for file in images.files]
        paths = [folder / f"{index}.body" for index in range(len(self._requests))]
        for path, (content, _) in zip(paths, self._requests, strict=True):
            path.write_bytes(content)
        self._plan = folder / "plan.lua"
        self._plan.write_text(_plan(paths, self._requests[0][1], reference))

    def check(self, url: str, callers: int) -> None:
        """Post two images from each of so many callers at once: each must get the answer to its own image.

        Raises:
            WrongAnswers: One did not.
        """

        def call(number: int) -> None:
            with Caller(url) as caller:
                for step in range(2):
                    index = (number + step) % len(self._requests)
                    probability = caller.probability(*self._requests[index], self._reference.label)
                    self._reference.require(index, probability, url)

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
        times = [float(moment) for moment in found["times"].split()]
        return Round(
            rate=steady_rate(times),
            p50_ms=float(found["p50"]),
            p99_ms=float(found["p99"]),
            generator_cores=(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / wall,
            answers=len(times),
        )

    def _drain(self, url: str) -> None:
        """Wait until what wrk left in flight is done with: one more answer comes after it."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while True:
            try:
                with Caller(url) as caller:
                    caller.probability(*self._requests[0], self._reference.label)
                return
            except WrongAnswers:  # Still too busy.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def print_rounds(name: str, rounds: Sequence[Round], note: str = "") -> list[float]:
    """Print what rounds found, each figure as the median of the rounds, and return their rates."""
    rates = [of_round.rate for of_round in rounds]
    print_row(name, rates, "images/s", note=note)
    percentiles = [(r.p50_ms, r.p99_ms) for r in rounds if r.p50_ms is not None and r.p99_ms is not None]
    if percentiles:
        p50, p99 = map(statistics.median, zip(*percentiles, strict=True))
        cores = statistics.median(of_round.generator_cores for of_round in rounds)
        print(f"{'':36} p50 {p50:.1f} ms, p99 {p99:.1f} ms; wrk used {cores:.3f} cores", flush=True)
    return rates


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
