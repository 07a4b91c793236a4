"""Mixed traffic, good and bad, for half an hour: ``python benchmarks/soak.py`` with the extra ``serve``.

The service under a fixed number of callers, who send images of all formats, damaged ones and bombs, malformed requests,
go away in the middle or send slowly, keep their connections or close them. Promised, and judged at the end with exit
code 1 where one is broken:

- memory at rest after the warm-up grows by less than 2 %, by the line of least squares and by medians;
- at rest, no file descriptor, thread or process more than at rest after the warm-up;
- no 5xx, no error in the service's log, no answer other than the first to the same request.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.artifact import open_artifact
from app.settings import SHIPPED_MODEL, Settings
from benchmarks.harness.machine import describe_machine
from benchmarks.harness.servers import Server, end_in_order_when_terminated, start_service
from benchmarks.harness.traffic import Connection, Outcome, Request, make_traffic
from benchmarks.harness.watch import Sample, memory_growth, take_sample

MOST_GROWTH: Final = 0.02
_SAMPLE_SECONDS: Final = 2
_REST_SECONDS: Final = 6
"""Longer than the service keeps an idle connection (5 s)."""
_CLOSING: Final = 0.2
"""Part of the requests whose connection is closed after them."""
_SHOWN: Final = 20


@dataclass
class Record:
    """What came back, kept by all callers together.

    Attributes:
        first: The first outcome of each request.
        counts: Outcomes by status; 0 are callers that went away.
        broken: What should not have been, in words.
    """

    tolerance: float
    first: dict[str, Outcome] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, outcome: Outcome) -> None:
        """Hold an outcome to the first of the same request."""
        with self.lock:
            self.counts[outcome.status] += 1
            first = self.first.setdefault(name, outcome)
            if outcome.status >= 500 or not outcome.is_as(first, self.tolerance):
                self.broken.append(f"{name}: {outcome}, at first {first}")

    def note_failure(self, name: str, error: Exception) -> None:
        """Note that a request got no answer."""
        with self.lock:
            self.broken.append(f"{name}: {type(error).__name__}: {error}")

    @property
    def total(self) -> int:
        """Requests so far."""
        return sum(self.counts.values())


class Callers:
    """Threads that send what chance takes from the traffic, and can be made to rest."""

    def __init__(self, url: str, traffic: list[Request], record: Record, count: int) -> None:
        """Start them."""
        self._url, self._traffic, self._record = url, traffic, record
        self._may_go, self._ended = threading.Event(), False
        self._resting = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._call, args=(seed,)) for seed in range(count)]
        self._may_go.set()
        for thread in self._threads:
            thread.start()

    def rest(self) -> None:
        """Wait until all have closed their connections, and the service has noticed."""
        self._may_go.clear()
        for _ in self._threads:
            self._resting.acquire()
        time.sleep(_REST_SECONDS)

    def go_on(self) -> None:
        """Let them send again."""
        self._may_go.set()

    def end(self) -> None:
        """Have them end."""
        self._ended = True
        self._may_go.set()
        for thread in self._threads:
            thread.join()

    def _call(self, seed: int) -> None:
        chance = random.Random(seed)
        weights = [request.weight for request in self._traffic]
        connection = Connection(self._url)
        while not self._ended:
            if not self._may_go.is_set():
                connection.close()
                self._resting.release()
                self._may_go.wait()
                continue
            [request] = chance.choices(self._traffic, weights)
            try:
                self._record.note(request.name, request.send(connection, chance.random() < _CLOSING))
            except Exception as error:  # Whatever it is, it is no answer.
                connection.close()
                self._record.note_failure(request.name, error)
        connection.close()


@dataclass(frozen=True)
class Watched:
    """What the service held after the warm-up.

    Attributes:
        loaded: Every few seconds under load. Decoders keep up to 64 MiB each of what they freed, now more, now less.
        rested: From time to time with nobody there, when they have given it back.
    """

    loaded: list[Sample]
    rested: list[Sample]


def soak(server: Server, callers: Callers, record: Record, options: argparse.Namespace) -> Watched:
    """Let the callers send for the time, and watch."""
    begin = time.monotonic()
    _print_head()

    def watch(until: float) -> Iterator[Sample]:
        shown, counted = time.monotonic(), record.total
        while (now := time.monotonic()) < until:
            time.sleep(_SAMPLE_SECONDS)
            yield (sample := take_sample(server.pid, begin))
            if time.monotonic() - shown >= options.every:
                _print_sample(sample, (record.total - counted) / (time.monotonic() - shown))
                shown, counted = now, record.total

    def at_rest() -> Sample:
        callers.rest()
        sample = take_sample(server.pid, begin)
        _print_sample(sample, 0, "at rest")
        callers.go_on()
        return sample

    warm_up, end = 60 * min(options.warm_up, options.minutes / 3), 60 * options.minutes
    for _ in watch(begin + warm_up):
        pass
    loaded, rested = list[Sample](), [at_rest()]
    for number in range(1, options.rests + 1):
        loaded += watch(begin + warm_up + (end - warm_up) * number / options.rests)
        rested.append(at_rest())
    return Watched(loaded, rested)


def judge(watched: Watched, record: Record, errors: list[str]) -> list[str]:
    """Name every promise that was broken, with its figures."""
    growth = memory_growth(watched.rested)
    broken = [
        f"memory at rest grew by {value:.1%} by {name}, not by less than {MOST_GROWTH:.0%}"
        for name, value in (("the line", growth.of_line), ("the medians", growth.of_medians))
        if not value < MOST_GROWTH
    ]
    for name in ("descriptors", "threads", "processes"):
        before, after = getattr(watched.rested[0], name), getattr(watched.rested[-1], name)
        if after > before:
            broken.append(f"{name} grew at rest from {before} to {after}")
    if record.broken:
        broken.append(f"{len(record.broken)} answers were not what they should be: {record.broken[:_SHOWN]}")
    if errors:
        broken.append(f"{len(errors)} errors in the log: {errors[:_SHOWN]}")
    return broken


def main() -> int:
    """Soak, print and judge; return the exit code."""
    options = _options().parse_args()
    end_in_order_when_terminated()
    settings = Settings()
    artifact = open_artifact(options.model)
    tolerance = artifact.metadata.tolerances["f32"]
    record = Record(2 * (tolerance["probabilities"] if isinstance(tolerance, dict) else tolerance))
    traffic = make_traffic(settings.max_upload_bytes)
    print(describe_machine("openvino", "fastapi", "uvicorn", "numpy", "pillow", "pydicom", "imagecodecs"))
    print(
        f"{artifact.metadata.name}/{artifact.metadata.version}; {len(traffic)} kinds of requests from "
        f"{options.callers} callers for {options.minutes:g} min; probabilities may differ by {record.tolerance:g}: "
        "twice the artifact's tolerance, as two engine calls may each be off by it"
    )
    with tempfile.TemporaryDirectory() as name:
        log = Path(name, "service.log")
        with start_service(artifact.path, log) as server:
            callers = Callers(server.url, traffic, record, options.callers)
            try:
                watched = soak(server, callers, record, options)
            finally:
                callers.end()
        errors = _errors_of(log)
    _print_end(watched, record)
    broken = judge(watched, record, errors)
    print("\n".join([f"BROKEN: {words}" for words in broken] or ["HELD: all promises"]))
    return bool(broken)


def _errors_of(log: Path) -> list[str]:
    errors = []
    for text in log.read_text(errors="replace").splitlines():
        line = {"level": "ERROR", "message": text}
        with contextlib.suppress(ValueError):
            line = json.loads(text)
        if line["level"] in ("ERROR", "CRITICAL"):
            errors.append(text)
    return errors


def _print_head() -> None:
    print(f"{'time':>8} {'memory (PSS)':>15} {'of the service':>15} {'fds':>6} {'threads':>8} ", end="")
    print(f"{'processes':>10} {'requests/s':>11}", flush=True)


def _print_sample(sample: Sample, rate: float, note: str = "") -> None:
    clock = f"{int(sample.seconds) // 60}:{int(sample.seconds) % 60:02}"
    memory = f"{sample.memory_mb:12.1f} MB {sample.first_mb:12.1f} MB"
    counts = f"{sample.descriptors:6} {sample.threads:8} {sample.processes:11}"
    print(f"{clock:>8} {memory} {counts} {rate:11.1f}  {note}", flush=True)


def _print_end(watched: Watched, record: Record) -> None:
    by_status = dict(sorted(record.counts.items()))
    print(f"{record.total} requests of {len(record.first)} kinds; by status (0: gone before the answer) {by_status}")
    for name, samples in (("at rest", watched.rested), ("under load", watched.loaded)):
        growth, memory = memory_growth(samples), [sample.memory_mb for sample in samples]
        print(
            f"memory {name} after the warm-up: median {statistics.median(memory):.1f} MB, {min(memory):.1f} to "
            f"{max(memory):.1f}, n={len(memory)}; growth {growth.of_line:+.2%} by the line, {growth.of_medians:+.2%} "
            "from the first fifth's median to the last's"
        )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="Model folder; default: the shipped one.")
    parser.add_argument("--minutes", type=float, default=30, help="Default 30.")
    parser.add_argument("--warm-up", type=float, default=5, help="Minutes, a third of all at most; default 5.")
    parser.add_argument("--callers", type=int, default=8, help="Requests in flight at a time; default 8.")
    parser.add_argument("--rests", type=int, default=10, help="Times without traffic, 4 or more; default 10.")
    parser.add_argument("--every", type=float, default=60, help="Seconds from row to row; default 60.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
