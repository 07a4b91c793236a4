"""The bare loop: ``python benchmarks/bare.py`` in an environment with the extra ``serve``.

Decode, preprocess and engine in one process without a server, the most that callers could get. Tries each combination
of batch size, streams and decoding threads, serial (decode a batch on the threads, then run it) and overlapped (the
next batches are decoded while one runs), with models compiled for that very batch size, and prints each and the best.
The bare call is one image after the other, on all cores.
"""

import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from app.artifact import POSITIVE
from app.engines import usable_cores
from app.engines.compiled import ov  # and not by itself, which would call its makers
from app.imaging import to_network_input
from benchmarks.harness.options import option_parser
from benchmarks.harness.reference import Reference, prepare
from benchmarks.harness.turns import print_row, steady_rate

BATCH_SIZES: Final = (1, 2, 4, 8, 16)
STREAMS: Final = (1, 2)
_LEAST_BATCHES: Final = {1: 4, 2: 3}
"""Of each stream, by the number of streams: a rate needs three after the first tenth of the time."""
_LEAST_IMAGES: Final = 16
"""Of all streams together, as single images come irregularly."""
_FINALISTS: Final = 3


@dataclass(frozen=True)
class Candidate:
    """A way to run the loop.

    Attributes:
        overlapped: Whether the next batches are decoded while one runs.
        batch_size: Images in one inference.
        streams: Inferences at a time, each with its share of the cores.
        decoders: Threads that decode.
    """

    overlapped: bool
    batch_size: int
    streams: int
    decoders: int

    def __str__(self) -> str:
        """Describe it for people."""
        way = "overlapped" if self.overlapped else "serial"
        return f"{way}, batch {self.batch_size}, streams {self.streams}, decoding threads {self.decoders}"


class BareLoop:
    """Answers the same files again and again as fast as one process can."""

    def __init__(self, reference: Reference, files: Sequence[bytes]) -> None:
        """Prepare to run a model, in the precision of the reference, on files in turn."""
        self._reference, self._files = reference, list(files)
        self._compiled: tuple[tuple[int, int], Any] | None = None

    def best(self, seconds: float, report: Callable[[Candidate, float], None]) -> Candidate:
        """Try every candidate, then the fastest three again and three times as long; return the fastest of these.

        Args:
            seconds: A candidate's time; more where its batches take longer.
            report: Called with each candidate and its images a second.
        """
        entrants, duration = list(candidates()), seconds
        for survivors in (_FINALISTS, 1):
            rates = {}
            for candidate in entrants:
                rates[candidate] = self.measure(candidate, duration)
                report(candidate, rates[candidate])
            entrants, duration = sorted(rates, key=rates.__getitem__)[-survivors:], 3 * seconds
        return entrants[0]

    def measure(self, candidate: Candidate, seconds: float) -> float:
        """Run a candidate for so many seconds and return its images a second."""
        model = self._compile(candidate.batch_size, candidate.streams)
        times: list[float] = []
        files = itertools.cycle(enumerate(self._files))
        deadline = time.perf_counter() + seconds
        with (
            ThreadPoolExecutor(candidate.decoders) as decoders,
            ThreadPoolExecutor(candidate.streams) as streams,
        ):
            streams_done = [
                streams.submit(
                    self._run_stream, model.create_infer_request(), candidate, decoders, files, deadline, times
                )
                for _ in range(candidate.streams)
            ]
            for done in streams_done:
                done.result()
        return steady_rate(times)

    def _run_stream(
        self,
        request: Any,
        candidate: Candidate,
        decoders: ThreadPoolExecutor,
        files: Iterator[tuple[int, bytes]],
        deadline: float,
        times: list[float],
    ) -> None:
        """Answer batches until the deadline, and note when each image was answered."""
        pending: deque[tuple[int, Future[np.ndarray]]] = deque()

        def decode_ahead(images: int) -> None:
            while len(pending) < images:
                index, file = next(files)
                pending.append((index, decoders.submit(self._reference.square, file)))

        share = candidate.batch_size * candidate.streams
        least = max(_LEAST_BATCHES[candidate.streams], _LEAST_IMAGES // share)
        batches = 0
        while batches < least or time.perf_counter() < deadline:
            decode_ahead(candidate.batch_size)
            batch = [pending.popleft() for _ in range(candidate.batch_size)]
            squares = np.stack([square.result() for _, square in batch])
            if candidate.overlapped:
                decode_ahead(2 * candidate.batch_size)
            result = request.infer({"image": to_network_input(squares)}, share_inputs=True)
            for (index, _), probabilities in zip(batch, result["probabilities"], strict=True):
                self._reference.require(index, float(probabilities[POSITIVE]), "The bare loop")
            times.extend([time.perf_counter()] * candidate.batch_size)
            batches += 1
        for _, square in pending:
            square.cancel()

    def _compile(self, batch_size: int, streams: int) -> Any:
        if self._compiled is None or self._compiled[0] != (batch_size, streams):
            self._compiled = None  # Frees the last one's memory first.
            self._compiled = (batch_size, streams), compile_model(self._reference, batch_size, streams)
        return self._compiled[1]


class BareCall:
    """Decode, preprocess and engine for one image, compiled for one image on all cores."""

    def __init__(self, reference: Reference) -> None:
        """Compile the model, in the precision of the reference."""
        self._reference, self._request = reference, compile_model(reference, 1, 1).create_infer_request()

    def __call__(self, file: bytes) -> float:
        """Return the probability of the positive class."""
        image = to_network_input(self._reference.square(file)[np.newaxis])
        result = self._request.infer({"image": image}, share_inputs=True)
        return float(result["probabilities"][0, POSITIVE])


def candidates() -> Iterator[Candidate]:
    """List the ways to run the loop, those that share a compiled model together."""
    cores = usable_cores()
    for streams, batch_size in itertools.product(STREAMS, BATCH_SIZES):
        yield Candidate(False, batch_size, streams, cores)
        for decoders in sorted({max(1, cores // 2), cores}):
            yield Candidate(True, batch_size, streams, decoders)


def compile_model(reference: Reference, batch_size: int, streams: int) -> Any:
    """Compile the reference's model with OpenVINO for exactly this batch size, on all usable cores."""
    core = ov.Core()
    model = core.read_model(reference.folder)
    model.reshape({"image": [batch_size, *network_input_shape(model)]})
    properties = {
        "INFERENCE_PRECISION_HINT": reference.precision,
        "INFERENCE_NUM_THREADS": str(usable_cores()),
        "NUM_STREAMS": str(streams),
    }
    return core.compile_model(model, "CPU", properties)


def network_input_shape(model: Any) -> list[int]:
    """Read height, width and channels of the input from a model whose batch size is open."""
    return [dimension.get_length() for dimension in list(model.input("image").partial_shape)[1:]]


def main() -> None:
    """Try the candidates, then measure the best."""
    options = option_parser(__doc__, seconds=1, rounds=3).parse_args()
    images, reference = prepare(
        options, f"{options.seconds} s a candidate, of the best {options.rounds} of five times as long"
    )
    loop = BareLoop(reference, images.files)
    best = loop.best(options.seconds, lambda candidate, rate: print(f"{rate:9.1f} images/s  {candidate}", flush=True))
    rates = [loop.measure(best, 5 * options.seconds) for _ in range(options.rounds)]
    print_row("bare loop", rates, "images/s", note=str(best))


if __name__ == "__main__":
    main()
