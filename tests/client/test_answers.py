"""What becomes of answers that the service itself does not give: a proxy's, another server's, a later version's."""

import json
import pickle
from typing import Any

import httpx
import pytest

from app.client import (
    ApiError,
    AsyncCxrClient,
    Busy,
    CxrClient,
    CxrError,
    Refused,
    Region,
    ServerFailed,
    Unauthorized,
    UnexpectedAnswer,
)
from app.client._problems import retry_after_s

ANSWER: dict[str, Any] = {
    "label": "COVID-19",
    "probabilities": {"non-COVID": 0.30000000000000004, "COVID-19": 0.7},
    "threshold": 1,
    "model": {"name": "made-up", "version": 3, "digest": "0" * 64},
    "input": {
        "format": "PNG",
        "width": 3,
        "height": 2,
        "bits": 8,
        "photometric_interpretation": None,
        "seen_region": {"left": 1, "top": 0, "width": 2, "height": 2},
    },
    "warnings": [{"code": "odd", "message": "An odd image."}],
    "heatmap": [[0, 5e-324], [0.1, 1]],
    "request_id": "r-1",
    "timings_ms": {"read": 1},
}
HTML = {"html": "<html><title>502 Bad Gateway</title></html>"}
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
MINUTE_LATER = "Wed, 21 Oct 2026 07:29:00 GMT"


def predict(**answer: Any) -> Any:
    """Predict with a service that answers this."""
    status = answer.pop("status_code", 200)
    transport = httpx.MockTransport(lambda _: httpx.Response(status, **answer))
    with CxrClient(transport=transport) as client:
        return client.predict(b"image")


def changed(path: str, value: object) -> dict[str, Any]:
    """The answer with another value at a place."""
    answer = json.loads(json.dumps(ANSWER))
    *parents, name = path.split(".")
    part = answer
    for parent in parents:
        part = part[int(parent) if isinstance(part, list) else parent]
    part[name] = value
    return answer


def test_numbers_are_what_the_answer_says_to_the_last_bit() -> None:
    prediction = predict(json=ANSWER)
    assert prediction.probabilities == {"non-COVID": 0.30000000000000004, "COVID-19": 0.7}
    assert prediction.heatmap == ((0.0, 5e-324), (0.1, 1.0))
    assert isinstance(prediction.threshold, float)
    assert prediction.warnings[0].message == "An odd image."
    assert prediction.input.seen_region == Region(left=1, top=0, width=2, height=2)
    assert prediction.raw == ANSWER


def test_fields_of_a_later_version_are_kept_and_not_minded() -> None:
    answer = {**ANSWER, "novelty": 0.1, "model": {**ANSWER["model"], "site": "a"}}
    prediction = predict(json=answer)
    assert prediction.model == predict(json=ANSWER).model
    assert prediction.raw["novelty"] == 0.1


@pytest.mark.parametrize(
    "answer",
    [
        {"content": b""},
        {"content": b"\xff\xfe"},
        {"content": b'{"label": "COVID-19", '},
        {"content": b"[" * 100_000},
        {"content": json.dumps({**ANSWER, "threshold": float("nan")}).encode()},
        {"json": [ANSWER]},
        {"json": {"status": "ready"}},
        {"status_code": 204},
        HTML,
    ],
)
def test_what_is_not_an_answer_of_the_service(answer: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedAnswer):
        predict(**answer)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("label", None),
        ("label", "pneumonia"),
        ("probabilities", [0.3, 0.7]),
        ("probabilities.COVID-19", "0.7"),
        ("probabilities.COVID-19", 1.5),
        ("probabilities.COVID-19", True),
        ("threshold", None),
        ("model", "made-up"),
        ("model.version", "3"),
        ("model.digest", None),
        ("input.width", 3.5),
        ("input.seen_region", None),
        ("input.seen_region.top", "0"),
        ("warnings", None),
        ("warnings", ["odd"]),
        ("heatmap", [0.1]),
        ("heatmap", [["a" * 1000]]),
        ("request_id", 1),
        ("timings_ms", None),
    ],
)
def test_a_field_that_is_not_what_the_interface_describes(path: str, value: object) -> None:
    with pytest.raises(UnexpectedAnswer, match=f"'({path.split('.')[-1]}|code|pneumonia)'") as error:
        predict(json=changed(path, value))
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiError),  # "plain HTTP request was sent to HTTPS port"
        (401, Unauthorized),
        (403, Unauthorized),
        (404, ApiError),
        (407, ApiError),
        (413, Refused),
        (429, Busy),
        (500, ServerFailed),
        (502, Busy),
        (503, Busy),
        (504, Busy),
        (520, ServerFailed),
    ],
)
def test_a_proxy_s_own_error(status: int, kind: type[ApiError]) -> None:
    with pytest.raises(ApiError, match="text/html") as caught:
        predict(status_code=status, **HTML)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.request_id) == (status, f"http_{status}", None)
    assert error.title
    assert "<" not in error.detail


@pytest.mark.parametrize("body", [b"", b"null", b'"busy"', b"[]", b'{"code": 1, "detail": []}', b'{"code": '])
def test_an_error_that_is_no_problem_object(body: bytes) -> None:
    with pytest.raises(Busy) as error:
        predict(status_code=503, content=body, headers={"Retry-After": "2", "X-Request-ID": "r-1"})
    assert (error.value.code, error.value.request_id, error.value.retry_after_s) == ("http_503", "r-1", 2)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 120 "}, 120),
        ({"Retry-After": MINUTE_LATER, "Date": DATE}, 60),
        ({"Retry-After": DATE, "Date": MINUTE_LATER}, 0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:29:00 -0000", "Date": DATE}, 60),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    encoded = httpx.Headers([(name.encode(), value.encode("latin-1")) for name, value in headers.items()])
    assert retry_after_s(encoded) == seconds


def test_an_answer_that_cannot_be_unpacked() -> None:
    with pytest.raises(UnexpectedAnswer, match="cannot be read"):
        predict(stream=httpx.ByteStream(b"not gzip"), headers={"Content-Encoding": "gzip"})


def test_an_overlay_that_is_no_png() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, **HTML))
    with CxrClient(transport=transport) as client, pytest.raises(UnexpectedAnswer, match="not a PNG"):
        client.explain(b"image")


def test_another_server_is_not_ready() -> None:
    def ready(**answer: Any) -> bool:
        with CxrClient(transport=httpx.MockTransport(lambda _: httpx.Response(**answer))) as client:
            return client.ready()

    assert not ready(status_code=502, **HTML)
    assert not ready(status_code=200, json={"status": "asleep"})
    with pytest.raises(UnexpectedAnswer):
        ready(status_code=200, **HTML)
    with pytest.raises(ApiError):
        ready(status_code=404)


def test_errors_go_from_process_to_process() -> None:
    error = Busy(503, "overloaded", "Service Unavailable", "Full.", "r-1", 2.0)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is Busy
    assert (vars(again), str(again)) == (vars(error), str(error))


def test_both_clients_offer_the_same() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(CxrClient) - {"close"} == public(AsyncCxrClient) - {"aclose"}


def test_every_exception_is_drawn() -> None:
    from app.client import _exceptions

    drawing = str(_exceptions.__doc__)
    classes = [kind for kind in vars(_exceptions).values() if isinstance(kind, type) and issubclass(kind, CxrError)]
    assert [kind.__name__ for kind in classes if kind.__name__ not in drawing] == []
