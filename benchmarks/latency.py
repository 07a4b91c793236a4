"""Latency of a single caller: ``python benchmarks/latency.py`` in an environment with the extra ``serve``.

One request at a time over one connection, against the bare call (``bare.py``: decode, preprocess and engine for one
image in one process), and ``/predict?explain=true`` against ``/predict``, in turn. Differences and ratios are of the
medians of the same round. The caller is Python's ``http.client``; what it and an empty answer cost together is the
time of ``GET /livez``.
"""

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.bare import BareCall
from benchmarks.harness.caller import Caller, WrongAnswers, encode_body, probability_of
from benchmarks.harness.options import add_body_option, option_parser
from benchmarks.harness.reference import Reference, prepare
from benchmarks.harness.servers import start_service
from benchmarks.harness.turns import in_turn, print_ratio, print_row

_LIVEZ_CALLS = 200


class Predict:
    """Posts images in turn, timed from the first byte sent to the last received; answers are checked after that."""

    def __init__(self, caller: Caller, files: tuple[bytes, ...], body: str, reference: Reference, path: str) -> None:
        """Prepare the bodies."""
        self._caller, self._reference, self._path = caller, reference, path
        self._requests = [encode_body(file, body) for file in files]

    def __call__(self, index: int) -> float:
        """Post an image and return the seconds it took.

        Raises:
            WrongAnswers: Not the engine's probability, or no heatmap where one was asked for.
        """
        begin = time.perf_counter()
        answer = self._caller.send("POST", self._path, *self._requests[index])
        seconds = time.perf_counter() - begin
        probability = probability_of(answer, self._reference.label)
        self._reference.require(index, probability, self._path)
        if ("explain" in self._path) != (json.loads(answer)["heatmap"] is not None):
            raise WrongAnswers(f"{self._path} answered with a heatmap where none was asked for, or without one.")
        return seconds


def bare(call: BareCall, files: tuple[bytes, ...], reference: Reference, index: int) -> float:
    """Answer an image without a server and return the seconds it took."""
    begin = time.perf_counter()
    probability = call(files[index])
    seconds = time.perf_counter() - begin
    reference.require(index, probability, "The bare call")
    return seconds


def milliseconds(measure: Callable[[int], float], indices: Iterator[int], seconds: float) -> list[float]:
    """Measure one call after the other for so many seconds; times in ms."""
    deadline, times = time.perf_counter() + seconds, []
    while not times or time.perf_counter() < deadline:
        times.append(1000 * measure(next(indices)))
    return times


def print_percentiles(name: str, times: list[float]) -> None:
    """Print percentiles of all calls of all rounds."""
    p50, p95, p99 = np.percentile(times, (50, 95, 99))
    print(f"{name:36} p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms ({len(times)} calls)")


def main() -> None:
    """Measure and print."""
    parser = option_parser(__doc__, seconds=5, rounds=7)
    add_body_option(parser)
    options = parser.parse_args()
    conditions = f"sent as {options.body}; one caller; {options.rounds} rounds of {options.seconds} s in turn"
    images, reference = prepare(options, conditions)
    call = BareCall(reference)
    with (
        tempfile.TemporaryDirectory() as folder,
        start_service(reference.folder, Path(folder) / "service.log") as server,
        Caller(server.url) as caller,
    ):
        measures: dict[str, Callable[[int], float]] = {
            "bare call": lambda index: bare(call, images.files, reference, index),
            "/predict": Predict(caller, images.files, options.body, reference, "/predict"),
            "/predict?explain=true": Predict(caller, images.files, options.body, reference, "/predict?explain=true"),
        }
        for measure in measures.values():
            for index in range(len(images.files)):
                measure(index)
        indices = itertools.cycle(range(len(images.files)))
        rounds = list(
            in_turn(
                options.rounds,
                *((lambda m=measure: milliseconds(m, indices, options.seconds)) for measure in measures.values()),
            )
        )
        livez = [_timed_livez(caller) for _ in range(_LIVEZ_CALLS)]
    times = dict(zip(measures, zip(*rounds, strict=True), strict=True))
    for name, of_rounds in times.items():
        print_percentiles(name, list(itertools.chain(*of_rounds)))
    print_percentiles("GET /livez", livez)
    plain, explained, alone = (
        [statistics.median(of_round) for of_round in times[name]]
        for name in ("/predict", "/predict?explain=true", "bare call")
    )
    print_row("p50: /predict - bare call", [a - b for a, b in zip(plain, alone, strict=True)], "ms", digits=2)
    print_ratio("p50: /predict?explain=true / /predict", explained, plain)


def _timed_livez(caller: Caller) -> float:
    begin = time.perf_counter()
    caller.send("GET", "/livez")
    return 1000 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
