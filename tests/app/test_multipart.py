"""Forms that are made to be costly, and forms of several parts."""

import time

import httpx
import pytest

from tests.app.answers import check
from tests.app.fakes import FakeEngine
from tests.app.in_process import Serve
from tests.app.test_concurrency import image, level_of

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
END = b"\r\n--b--\r\n"
FIELD = b'\r\n--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx'
MEBIBYTES = 32 * 2**20
WORST_SECONDS = 3
"""Of processor time. Not bounded, each of these forms took the parser from 6 to 11 seconds."""


def post(client: httpx.Client, body: bytes, boundary: str = "b") -> httpx.Response:
    return client.post("/predict", content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})


@pytest.mark.parametrize(
    "costly",
    [b"\r\n--bx", b"\r\n--b\rx", b"\r\n--b-x", b"\r\n--b" + b" " * MEBIBYTES, FIELD, b"\r\n--b\r\na:b\r\n\r\n"],
    ids=["lines", "lines with CR", "lines with a hyphen", "blanks", "fields", "parts without a name"],
)
def test_costly_form_is_refused(serve: Serve, costly: bytes) -> None:
    body = HEAD + costly * max(1, MEBIBYTES // len(costly)) + END
    with serve(FakeEngine) as client:
        before = time.process_time()
        answer = post(client, body)
        assert time.process_time() - before < WORST_SECONDS
    check(answer, 400, "malformed_multipart", ("multipart form",))


@pytest.mark.parametrize("costly", [b"\r", b"\r\n", b"\r\n--", b"\r\n-"], ids=repr)
def test_harmless_form_of_the_same_kind_is_read(serve: Serve, costly: bytes) -> None:
    body = HEAD + image(10) + costly * (MEBIBYTES // len(costly)) + END
    with serve(FakeEngine) as client:
        assert level_of(post(client, body)) == 10


def test_part_header_is_bounded(serve: Serve) -> None:
    with serve(FakeEngine) as client:
        check(post(client, HEAD[:-4] + b"x" * 10_000 + b"\r\n\r\nx" + END), 400, "malformed_multipart", ("curl",))


@pytest.mark.parametrize("boundary", ["", '""', "x" * 300])
def test_boundary_that_is_none(serve: Serve, boundary: str) -> None:
    with serve(FakeEngine) as client:
        check(post(client, HEAD + image(10) + END, boundary), 400, "malformed_multipart", ("multipart",))


def test_other_fields_an_epilogue_and_a_padded_boundary_are_read_over(serve: Serve) -> None:
    form = HEAD + image(10) + FIELD * 20 + b"\r\n--b  \r\n" + FIELD[7:] + END
    with serve(FakeEngine) as client:
        assert level_of(post(client, form + b"epilogue\r\n" * 10_000)) == 10
        assert level_of(post(client, b"\r\n" + form)) == 10
