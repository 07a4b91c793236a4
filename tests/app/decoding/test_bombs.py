"""Image bombs, several at a time: each is answered or refused in time, in bounded memory of every process."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

from app.decoding.fences import memory_bytes
from app.imaging import DecodeLimits
from tests.app.decoding.bombs import BESIDE_THE_LIMIT, MAX_BYTES, MAX_PIXELS, OVER_THE_LIMIT, WITHIN_THE_LIMIT
from tests.app.processes import descendants, peak_memory_bytes
from tests.app.server import Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Memory is fenced and read on Linux alone.")

UPLOADS: Final = 4
BUDGET: Final = UPLOADS * MAX_BYTES
SERVICE_BYTES: Final = BUDGET + 2 * MAX_BYTES
"""What the service may hold of uploads: the budget, one beyond it, and one that is put together from its pieces."""
SECONDS: Final = 30
"""For an answer, with others beside it, on a machine that does other things too; a decoder has 10 of its core."""

BOMBS: Final = OVER_THE_LIMIT | WITHIN_THE_LIMIT | BESIDE_THE_LIMIT


class Bombed:
    """A service that all bombs were posted to.

    Attributes:
        answers: By bomb.
        grown: Peak memory of the service, beyond what it had before.
        decoders_grown: Largest peak of a decoder, beyond what it starts with.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        before, start = peak_memory_bytes(server.pid), peak_memory_bytes(descendants(server.pid)[0])
        self._peaks = [start]
        with ThreadPoolExecutor(UPLOADS) as callers:
            self.answers = dict(zip(BOMBS, callers.map(self._post, BOMBS), strict=True))
        self.grown = peak_memory_bytes(server.pid) - before
        self.decoders_grown = max(self._peaks) - start

    def _post(self, name: str) -> httpx.Response:
        answer = self._server.client.post("/predict", content=BOMBS[name]())
        for pid in descendants(self._server.pid):
            with suppress(OSError):  # One that has just been replaced; its memory was fenced by the kernel.
                self._peaks.append(peak_memory_bytes(pid))
        return answer


@pytest.fixture(scope="module")
def bombed(cache_dir: Path) -> Iterator[Bombed]:
    limits = {"max_pixels": MAX_PIXELS, "max_upload_bytes": MAX_BYTES, "upload_memory_bytes": BUDGET}
    with Server(cache_dir=cache_dir, decode_timeout_ms=10_000, **limits) as server:
        yield Bombed(server)
        assert server.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("name", OVER_THE_LIMIT)
def test_bomb_over_the_limit_is_refused(bombed: Bombed, name: str) -> None:
    assert bombed.answers[name].status_code == 413, bombed.answers[name].text


@pytest.mark.parametrize("name", WITHIN_THE_LIMIT)
def test_largest_image_within_the_limit_is_answered(bombed: Bombed, name: str) -> None:
    assert bombed.answers[name].status_code == 200, bombed.answers[name].text


@pytest.mark.parametrize("name", BESIDE_THE_LIMIT)
def test_bomb_beside_the_limit_is_refused_or_harmless(bombed: Bombed, name: str) -> None:
    assert bombed.answers[name].status_code in (200, 415, 422), bombed.answers[name].text


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_done_with_in_time(bombed: Bombed, name: str) -> None:
    assert bombed.answers[name].elapsed.total_seconds() < SECONDS


def test_decoders_stay_within_their_memory(bombed: Bombed) -> None:
    assert bombed.decoders_grown <= memory_bytes(DecodeLimits(MAX_PIXELS, MAX_BYTES))
    assert bombed.decoders_grown > 10 * MAX_PIXELS  # so that it is they who are measured


def test_service_holds_uploads_and_no_pixels(bombed: Bombed) -> None:
    assert bombed.grown <= SERVICE_BYTES
