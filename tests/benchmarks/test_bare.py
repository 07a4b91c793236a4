"""The bare loop runs what it says, and notices wrong answers."""

import dataclasses

import pytest

from app.artifact import Artifact
from benchmarks.bare import BareCall, BareLoop, Candidate, candidates
from benchmarks.harness.caller import WrongAnswers
from benchmarks.harness.radiographs import Radiographs, make_radiographs
from benchmarks.harness.reference import Reference, make_reference


@pytest.fixture(scope="module")
def images() -> Radiographs:
    return make_radiographs("png", 64)


@pytest.fixture(scope="module")
def reference(shipped: Artifact, images: Radiographs) -> Reference:
    return make_reference(shipped.path, images.files)


@pytest.mark.parametrize("overlapped", [False, True])
def test_the_loop_answers_as_the_engine(images: Radiographs, reference: Reference, overlapped: bool) -> None:
    loop = BareLoop(reference, images.files)
    candidate = Candidate(overlapped, batch_size=2, streams=2, decoders=2)
    assert loop.measure(candidate, 0) > 0
    loop = BareLoop(dataclasses.replace(reference, probabilities=reference.probabilities[::-1]), images.files)
    with pytest.raises(WrongAnswers):
        loop.measure(candidate, 0)


def test_the_call_answers_as_the_engine(images: Radiographs, reference: Reference) -> None:
    call = BareCall(reference)
    for index, file in enumerate(images.files):
        reference.require(index, call(file), "The bare call")


def test_every_batch_size_is_tried_with_every_number_of_streams_both_ways() -> None:
    tried = {(way.overlapped, way.batch_size, way.streams) for way in candidates()}
    assert tried == {(o, b, s) for o in (False, True) for b in (1, 2, 4, 8, 16) for s in (1, 2)}
