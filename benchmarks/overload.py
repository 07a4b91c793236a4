"""The service at ten times what it can answer: ``python benchmarks/overload.py``, with the extra ``serve``.

The service on one core, what sends on another. Its saturated rate is measured with wrk before and after, on a service
of its own that refuses nobody. Between, with the settings that the service has by default, requests are sent at
``--times`` that rate, each at its moment and on a connection of its own, whether those before are answered or not;
times count from the moment. Beside them a probe asks ``/livez``, ten times a second and on new connections too. Every
request must be answered: 200 with the engine's probability, or 503 with ``Retry-After``. One second after the last
answer the service is compared with what it was before.
"""

import argparse
import collections
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.caller import Caller, WrongAnswers, encode_body, probability_of
from benchmarks.harness.load import Load, Round, print_rounds
from benchmarks.harness.open_loop import Exchange, Storm, blow
from benchmarks.harness.options import add_load_options, option_parser
from benchmarks.harness.reference import Reference, prepare
from benchmarks.harness.servers import Server, admit, process_tree, start_service
from benchmarks.harness.turns import steady_rate

_PROBE_SECONDS: Final = 0.1
_SINGLE_REQUESTS: Final = 20


@dataclass(frozen=True)
class State:
    """What the service is like when nothing is asked of it.

    Attributes:
        latency_ms: Median time of single requests, one after the other.
        in_progress: Its own count.
        files: Open in its processes.
        memory_mb: Resident, of its processes.
    """

    latency_ms: float
    in_progress: int
    files: int
    memory_mb: float

    def __str__(self) -> str:
        """Put it in words."""
        return (
            f"single request {self.latency_ms:.1f} ms, {self.in_progress} in progress, {self.files} files open, "
            f"{self.memory_mb:.0f} MB resident"
        )


def look_at(server: Server, requests: Sequence[tuple[bytes, str]], reference: Reference) -> State:
    """Measure the state; the count, files and memory before single requests are sent."""
    with Caller(server.url) as caller:
        found = re.search(rb"^cxr_requests_in_progress (\S+)$", caller.send("GET", "/metrics"), re.MULTILINE)
        assert found
        processes = process_tree(server.pid)
        files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in processes)
        memory = sum(_resident_bytes(pid) for pid in processes)
        seconds = []
        for number in range(_SINGLE_REQUESTS):
            begin = time.perf_counter()
            index = number % len(requests)
            reference.require(index, caller.probability(*requests[index], reference.label), server.url)
            seconds.append(time.perf_counter() - begin)
    return State(1000 * statistics.median(seconds), int(float(found[1])), files, memory / 1e6)


def _resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(found[1]) if found else 0


def http_request(url: str, path: str, body: bytes, content_type: str) -> bytes:
    """Write a whole request down; GET without a body."""
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
    if body:
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def milliseconds(exchanges: Sequence[Exchange], percentile: float) -> float:
    """Return a percentile of times, from the moments at which requests were to be sent."""
    return 1000 * float(np.percentile([exchange.seconds for exchange in exchanges], percentile))


def check(storm: Storm, reference: Reference) -> None:
    """Hold every answer to what it must be.

    Raises:
        WrongAnswers: One is not.
    """
    for exchange in storm.uploads:
        if exchange.status == 200:
            reference.require(exchange.index, probability_of(exchange.body, reference.label), "The service")
        elif exchange.status != 503 or not exchange.retry_after.isdecimal():
            raise WrongAnswers(
                f"A request was answered {exchange.status or 'nothing'} after {exchange.seconds:.1f} s, "
                f"Retry-After {exchange.retry_after!r}: {exchange.body[:300].decode(errors='replace')}"
            )
    if failed := [probe for probe in storm.probes if probe.status != 200]:
        raise WrongAnswers(f"{len(failed)} of {len(storm.probes)} requests for /livez were not answered 200.")


def report(storm: Storm, saturated: float) -> None:
    """Print what came of the load."""
    served = [exchange for exchange in storm.uploads if exchange.status == 200]
    refused = [exchange for exchange in storm.uploads if exchange.status == 503]
    counts = collections.Counter(exchange.status for exchange in storm.uploads)
    rate = steady_rate([exchange.ended for exchange in served if exchange.ended <= storm.sent])
    last = max(exchange.ended for exchange in storm.uploads)
    waits = [int(exchange.retry_after) for exchange in refused] or [0]
    print(f"{len(storm.uploads)} requests, answered {dict(counts)}; no connection failed")
    print(f"served {rate:.2f} images/s, {rate / saturated:.3f} of the saturated rate")
    print(f"served in p50 {milliseconds(served, 50):.0f} ms, p99 {milliseconds(served, 99):.0f} ms")
    if refused:
        print(
            f"refused in p50 {milliseconds(refused, 50):.1f} ms, p99 {milliseconds(refused, 99):.1f} ms; "
            f"Retry-After {min(waits)} to {max(waits)} s"
        )
    print(
        f"/livez p50 {milliseconds(storm.probes, 50):.1f} ms, p99 {milliseconds(storm.probes, 99):.1f} ms, "
        f"max {milliseconds(storm.probes, 100):.1f} ms, of {len(storm.probes)}"
    )
    print(f"last answer {last - storm.sent:.1f} s after the last request; generator {storm.generator_cores:.3f} cores")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = option_parser(__doc__, seconds=120, rounds=1)
    add_load_options(parser)
    parser.add_argument("--times", type=float, default=10, help="Of the saturated rate; default 10.")
    parser.add_argument("--saturated-seconds", type=int, default=20, help="To measure that rate; default 20.")
    parser.add_argument("--cores", default="0,1", help="Of the service and of what sends; default 0,1.")
    return parser.parse_args()


class Course:
    """The service and its load, each on its core."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Prepare images, requests and answers."""
        self._options, self._folder = options, folder
        self._of_service, self._of_sender = (int(core) for core in options.cores.split(","))
        conditions = f"service on core {self._of_service}, load from core {self._of_sender}"
        images, self.reference = prepare(options, conditions, "uvloop")
        self._load = Load(folder, images, self.reference, options.body)
        self._requests = [encode_body(file, options.body) for file in images.files]

    def _start(self, **settings: object) -> Server:
        os.sched_setaffinity(0, {self._of_service})  # what is started inherits it
        try:
            server = start_service(self.reference.folder, self._folder / "service.log", **settings)
        finally:
            os.sched_setaffinity(0, {self._of_sender})
        self._load.check(server.url, 8)
        return server

    def saturate(self) -> Round:
        """Measure the saturated rate, after as long a time to warm up."""
        callers, seconds = self._options.callers, self._options.saturated_seconds
        with self._start(**admit(callers)) as server:
            self._load.run(server.url, callers, seconds)
            return self._load.run(server.url, callers, seconds)

    def storm(self, rate: float) -> tuple[State, Storm, State]:
        """Send so many requests a second; return the state before, what came of them, and the state after."""
        with self._start() as server:
            look_at(server, self._requests, self.reference)
            before = look_at(server, self._requests, self.reference)
            whole = [http_request(server.url, "/predict", *request) for request in self._requests]
            probe = http_request(server.url, "/livez", b"", "")
            print(f"{rate:.1f} requests/s for {self._options.seconds} s", flush=True)
            storm = blow(server.url, whole, rate, self._options.seconds, probe, _PROBE_SECONDS)
            time.sleep(1)
            return before, storm, look_at(server, self._requests, self.reference)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as name:
        course = Course(options, Path(name))
        rounds = [course.saturate()]
        before, storm, after = course.storm(options.times * rounds[0].rate)
        rounds.append(course.saturate())
    check(storm, course.reference)
    rates = print_rounds(f"saturated by {options.callers} callers", rounds)
    report(storm, statistics.mean(rates))
    print(f"before: {before}\nafter:  {after}")


if __name__ == "__main__":
    main()
