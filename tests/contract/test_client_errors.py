"""Every error of the service is, for the client, an exception of the right kind."""

from collections.abc import Iterator

import httpx
import pytest

from app import client, errors
from app.api.problems import MEDIA_TYPE, problem_body, status_of
from app.client import CxrClient


def concrete(kind: type[errors.CxrError]) -> Iterator[type[errors.CxrError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from concrete(below)


KINDS = [
    *((error, client.Refused) for error in concrete(errors.UploadError) if error is not errors.UploadError),
    *((error, client.Busy) for error in concrete(errors.Unavailable)),
    (errors.Unauthorized, client.Unauthorized),
    (errors.CrossSite, client.Unauthorized),
    (errors.UnknownHost, client.ApiError),
    (errors.BodyTooSlow, client.ApiError),
    (errors.DeadlinePassed, client.Busy),
    (errors.InferenceFailed, client.ServerFailed),
]


@pytest.mark.parametrize(("error", "kind"), KINDS)
def test_error(error: type[errors.CxrError], kind: type[client.ApiError]) -> None:
    status = status_of(error)
    measured = {"distance": 4.5, "limit": 1.5} if issubclass(error, errors.UnlikeTraining) else {}
    content = problem_body(status, error.code, "Why.", "r-1", **measured)
    answer = httpx.Response(status, content=content, headers={"Content-Type": MEDIA_TYPE})
    with (
        CxrClient(transport=httpx.MockTransport(lambda _: answer)) as service,
        pytest.raises(client.ApiError) as caught,
    ):
        service.predict(b"image")
    assert type(caught.value) is kind
    expected = (status, error.code, status.phrase, "Why.", "r-1", None, measured.get("distance"), measured.get("limit"))
    assert caught.value.args == expected
