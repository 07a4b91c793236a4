"""Which images the batcher computes together, which never, and what a failure costs."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

from app.batching import Batcher, Inferred, Square
from app.errors import InferenceFailed
from app.metrics import Metrics
from app.outputs import Outputs
from tests.app.gates import WAIT_SECONDS, Gate

NEVER_SECONDS: Final = 1000
"""A delay that no test lives to see the end of."""

A_MOMENT_SECONDS: Final = 0.05
"""In which what must not happen would."""

Start: TypeAlias = Callable[..., Batcher]


class Levels:
    """Stands for the network: answers each image's grey level, and notes the batches it was given.

    Attributes:
        batches: Grey levels of the images, by call.
        gates: The first calls stop at these, one each.
        errors: Raised by the calls that come next.
    """

    def __init__(self, *gates: Gate) -> None:
        self.batches: list[list[int]] = []
        self.gates, self.errors = list(gates), list[Exception]()
        self.called = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, squares: Sequence[Square]) -> Outputs:
        levels = [int(square[0, 0]) for square in squares]
        with self._lock:
            self.batches.append(levels)
            self.called.set()
            gate = self.gates.pop(0) if self.gates else None
            error = self.errors.pop(0) if self.errors else None
        if gate:
            gate.wait()
        if error:
            raise error
        column = np.array(levels, np.float32)
        return Outputs(
            np.stack([1 - column, column], axis=1), np.zeros((len(levels), 7, 7), np.float32), column[:, None]
        )

    @property
    def computed(self) -> list[int]:
        """Of all batches, in order."""
        return [level for batch in self.batches for level in batch]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def start(metrics: Metrics) -> Iterator[Start]:
    """Make batchers, and end them."""
    started: list[Batcher] = []

    def start(infer: Callable[[Sequence[Square]], Outputs], **options: Any) -> Batcher:
        batcher = Batcher(infer, metrics, **{"batch_size": 4, "max_delay_seconds": NEVER_SECONDS, **options})
        started.append(batcher)
        return batcher

    yield start
    for batcher in started:
        batcher.close()


def square(level: int) -> Square:
    return np.full((224, 224), level, np.uint8)


def queue(batcher: Batcher, *levels: int) -> list["Future[Inferred]"]:
    """Let images join the queue one after another, none of them known before."""
    futures = []
    for level in levels:
        with batcher.place() as place:
            futures.append(place.take(square(level)))
    return futures


def answer(future: "Future[Inferred]") -> int:
    inferred = future.result(WAIT_SECONDS)
    assert inferred.seconds > 0
    assert [len(getattr(inferred.outputs, name)) for name in ("probabilities", "heatmap", "features")] == [1, 1, 1]
    return int(inferred.outputs.probabilities[0, 1])


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def occupy(batcher: Batcher, gate: Gate) -> "Future[Inferred]":
    """Keep the only thread busy with image 0."""
    (future,) = queue(batcher, 0)
    assert gate.reached.wait(WAIT_SECONDS)
    return future


def test_an_image_that_is_alone_never_waits(start: Start) -> None:
    infer = Levels()
    assert answer(*queue(start(infer), 7)) == 7
    assert infer.batches == [[7]]


def test_an_image_does_not_wait_for_fewer_than_fill_a_batch(start: Start) -> None:
    batcher = start(Levels())
    with batcher.place() as first, batcher.place(), batcher.place():
        assert answer(first.take(square(7))) == 7


def test_as_many_images_as_fill_a_batch_are_computed_together(start: Start, gate: Gate) -> None:
    infer = Levels(gate)
    batcher = start(infer)
    futures = [occupy(batcher, gate), *queue(batcher, 1, 2, 3, 4, 5, 6, 7, 8, 9)]
    gate.opened.set()
    assert [answer(future) for future in futures] == list(range(10))
    assert infer.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_fewer_images_than_fill_a_batch_are_all_answered(start: Start, gate: Gate) -> None:
    infer = Levels(gate)
    batcher = start(infer)
    futures = [occupy(batcher, gate), *queue(batcher, 1, 2, 3)]
    gate.opened.set()
    assert [answer(future) for future in futures] == infer.computed == [0, 1, 2, 3]


def test_an_image_waits_for_those_that_would_fill_its_batch(start: Start) -> None:
    infer = Levels()
    batcher = start(infer, batch_size=2)
    with batcher.place() as first, batcher.place() as second:
        earlier = first.take(square(1))
        assert not infer.called.wait(A_MOMENT_SECONDS)
        later = second.take(square(2))
        assert (answer(earlier), answer(later)) == (1, 2)
    assert infer.batches == [[1, 2]]


def test_an_image_goes_on_when_the_other_could_not_be_decoded(start: Start) -> None:
    infer = Levels()
    batcher = start(infer, batch_size=2)
    with batcher.place() as first:
        with suppress(ZeroDivisionError), batcher.place():
            future = first.take(square(1))
            assert not infer.called.wait(A_MOMENT_SECONDS)
            raise ZeroDivisionError
        assert answer(future) == 1
    assert infer.batches == [[1]]


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_an_image_goes_on_when_it_has_waited_for_long_enough(start: Start, seconds: float) -> None:
    infer = Levels()
    batcher = start(infer, batch_size=2, max_delay_seconds=seconds)
    with batcher.place() as first, batcher.place() as second:
        assert answer(first.take(square(1))) == 1
        assert answer(second.take(square(2))) == 2
    assert infer.batches == [[1], [2]]


def test_images_of_callers_that_have_gone_are_not_computed(start: Start, gate: Gate, metrics: Metrics) -> None:
    infer = Levels(gate)
    batcher = start(infer)
    occupied, *futures = [occupy(batcher, gate), *queue(batcher, 1, 2, 3, 4, 5, 6)]
    for gone in (futures[0], futures[2]):
        assert gone.cancel()
    gate.opened.set()
    assert [answer(future) for future in (occupied, *futures) if not future.cancelled()] == [0, 2, 4, 5, 6]
    assert infer.batches == [[0], [2, 4, 5, 6]]  # a full batch, without those two
    assert metrics.registry.get_sample_value("cxr_batch_size_sum") == 5


def test_images_of_gone_callers_do_not_fill_a_batch(start: Start, gate: Gate) -> None:
    infer = Levels(gate)
    batcher = start(infer)
    occupy(batcher, gate)
    futures = queue(batcher, 1, 2, 3, 4)
    assert futures[1].cancel()
    gate.opened.set()
    assert [answer(future) for future in futures if not future.cancelled()] == [1, 3, 4]
    assert infer.computed == [0, 1, 3, 4]


def test_a_queue_of_gone_callers_alone_is_no_batch(start: Start, gate: Gate) -> None:
    infer = Levels(gate)
    batcher = start(infer)
    occupy(batcher, gate)
    for future in queue(batcher, 1, 2, 3, 4):
        assert future.cancel()
    gate.opened.set()
    assert answer(*queue(batcher, 5)) == 5
    assert infer.batches == [[0], [5]]


def test_an_image_that_is_being_computed_is_not_taken_out(start: Start, gate: Gate) -> None:
    batcher = start(Levels(gate))
    future = occupy(batcher, gate)
    assert not future.cancel()
    gate.opened.set()
    assert answer(future) == 0


def test_an_image_whose_place_was_given_up_is_not_computed(start: Start) -> None:
    infer = Levels()
    batcher = start(infer)
    with batcher.place() as place:
        pass
    assert place.take(square(1)).cancelled()
    assert answer(*queue(batcher, 2)) == 2
    assert infer.batches == [[2]]


def test_an_image_whose_caller_went_while_it_was_queued_is_not_computed(start: Start, gate: Gate) -> None:
    infer = Levels(gate)
    batcher = start(infer)
    occupy(batcher, gate)
    with suppress(TimeoutError), batcher.place() as place:
        future = place.take(square(1))
        raise TimeoutError
    gate.opened.set()
    assert answer(*queue(batcher, 2)) == 2
    assert future.cancelled()
    assert infer.batches == [[0], [2]]


def test_a_place_is_taken_once(start: Start) -> None:
    batcher = start(Levels())
    with batcher.place() as place:
        assert answer(place.take(square(1))) == 1
        assert place.take(square(2)).cancelled()


@pytest.mark.parametrize("error", [InferenceFailed("it said so"), ZeroDivisionError("unforeseen"), MemoryError()])
def test_a_failed_batch_fails_its_own_images_alone(
    start: Start, gate: Gate, metrics: Metrics, error: Exception
) -> None:
    infer = Levels(gate)
    batcher = start(infer)
    before = occupy(batcher, gate)
    futures = queue(batcher, 1, 2, 3, 4, 5)
    infer.errors.append(error)
    gate.opened.set()
    assert answer(before) == 0
    for future in futures[:4]:
        failure = future.exception(WAIT_SECONDS)
        assert isinstance(failure, InferenceFailed)
        assert error in (failure, failure.__cause__)
    assert answer(futures[4]) == 5
    assert infer.batches == [[0], [1, 2, 3, 4], [5]]
    assert metrics.registry.get_sample_value("cxr_engine_failures_total") == 1
    assert metrics.registry.get_sample_value("cxr_batch_size_sum") == 2  # only what was answered


def test_the_queue_and_the_batches_can_be_seen(start: Start, gate: Gate, metrics: Metrics) -> None:
    batcher = start(Levels(gate))
    occupied = occupy(batcher, gate)
    depth = [metrics.registry.get_sample_value("cxr_queue_depth")]
    futures = queue(batcher, 1, 2, 3, 4)
    depth.append(metrics.registry.get_sample_value("cxr_queue_depth"))
    gate.opened.set()
    assert [answer(future) for future in (occupied, *futures)] == [0, 1, 2, 3, 4]
    assert [*depth, metrics.registry.get_sample_value("cxr_queue_depth")] == [0, 4, 0]
    sizes = [metrics.registry.get_sample_value("cxr_batch_size_bucket", {"le": le}) for le in ("1.0", "2.0", "4.0")]
    assert sizes == [1, 1, 2]


def test_the_estimate_leaves_out_an_image_that_took_long_to_be_refused(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("app.batching.time", SimpleNamespace(perf_counter=lambda: now))

    def infer(squares: Sequence[Square]) -> Outputs:
        nonlocal now
        now += 1
        return Levels()(squares)

    batcher = start(infer)
    with suppress(ValueError), batcher.place():
        answer(*queue(batcher, 1))
        now += 1000
        raise ValueError("a decoder that hung")
    answer(*queue(batcher, 2))
    assert batcher.seconds_to_answer(1) == pytest.approx(1)


@pytest.mark.parametrize("streams", [1, 2])
def test_the_estimate_follows_what_the_last_images_took(
    start: Start, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, seconds = 0.0, 2.0
    monkeypatch.setattr("app.batching.time", SimpleNamespace(perf_counter=lambda: now))

    def infer(squares: Sequence[Square]) -> Outputs:
        nonlocal now
        now += seconds
        return Levels()(squares)

    batcher = start(infer, streams=streams)
    assert batcher.seconds_to_answer(100) == 0
    answer(*queue(batcher, 1))
    assert batcher.seconds_to_answer(3) == pytest.approx(6 / streams)
    seconds = 1.0
    for _ in range(5):
        answer(*queue(batcher, 1))
    assert batcher.seconds_to_answer(1) == pytest.approx(1 / streams)
    seconds = 1000.0
    answer(*queue(batcher, 1))
    assert batcher.seconds_to_answer(1) == pytest.approx(1 / streams), "one image is no measure of the next ones"
    for _ in range(8):
        answer(*queue(batcher, 1))
    assert batcher.seconds_to_answer(1) == pytest.approx(1000 / streams)


def test_streams_compute_beside_each_other(start: Start) -> None:
    gates = [Gate(), Gate()]
    batcher = start(Levels(*gates), streams=2)
    futures = queue(batcher, 1, 2)
    assert all(gate.reached.wait(WAIT_SECONDS) for gate in gates)
    gates[1].opened.set()
    assert answer(futures[1]) == 2
    assert not futures[0].done()
    gates[0].opened.set()
    assert answer(futures[0]) == 1


def test_close_answers_what_waits_and_ends_the_threads(start: Start, gate: Gate) -> None:
    before = set(threading.enumerate())
    infer = Levels(gate)
    batcher = start(infer, batch_size=2)
    threads = set(threading.enumerate()) - before
    assert threads
    occupied = occupy(batcher, gate)
    with batcher.place() as place, batcher.place():
        waiting = place.take(square(1))  # for the other, which does not come
        closing = threading.Thread(target=batcher.close)
        closing.start()
        gate.opened.set()
        closing.join(WAIT_SECONDS)
    assert not any(thread.is_alive() for thread in (closing, *threads))
    assert (answer(occupied), answer(waiting)) == (0, 1)
