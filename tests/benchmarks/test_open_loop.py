"""Load at a constant rate: what is sent, and what is told of the answers."""

import socket

import numpy as np

from benchmarks.harness.open_loop import blow
from benchmarks.overload import http_request, milliseconds
from tests.app.fakes import FakeEngine
from tests.app.in_process import Serve, serve
from tests.images import encode

__all__ = ["serve"]

IMAGES = [encode(np.full((32, 32), level, np.uint8), "PNG") for level in (0, 255)]


def test_every_request_is_sent_and_its_own_answer_kept(serve: Serve) -> None:
    with serve(FakeEngine) as client:
        url = str(client.base_url)
        requests = [http_request(url, "/predict", image, "image/png") for image in IMAGES]
        storm = blow(url, requests, 50, 0.4, http_request(url, "/livez", b"", ""), 0.1)
    assert [exchange.status for exchange in storm.uploads] == [200] * 20
    assert [b'"label":"COVID-19"' in exchange.body for exchange in storm.uploads] == [False, True] * 10
    assert [exchange.status for exchange in storm.probes] == [200] * 4
    assert all(b"alive" in exchange.body for exchange in storm.probes)
    assert [round(50 * (exchange.due - storm.began)) for exchange in storm.uploads] == list(range(20))
    assert 0 < milliseconds(storm.uploads, 50) <= milliseconds(storm.uploads, 100)


def test_lost_connections_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    storm = blow(url, [b"x"], 20, 0.1, b"x", 1)
    assert [exchange.status for exchange in storm.uploads + storm.probes] == [0] * 2
    assert storm.uploads[0].ended
