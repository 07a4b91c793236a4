"""Answers that are errors, as exceptions: the service's own (RFC 9457), and those of whatever stands before it."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import httpx

from app.client._exceptions import ApiError, Busy, CxrError, Refused, ServerFailed, Unauthorized, UnexpectedAnswer

_ABOUT_THE_UPLOAD: Final = frozenset({400, 413, 415, 422})
_KEY: Final = frozenset({401, 403})
_LATER: Final = frozenset({429, 502, 503, 504})
_TOO_LARGE: Final = 413


def error_of(response: httpx.Response) -> CxrError | None:
    """Return the exception that an answer stands for; None if it is a success."""
    if response.is_success:
        return None
    if response.is_redirect:
        # Not followed: the image and the key would go to whatever address the answer names.
        place = response.headers.get("Location", "")
        return UnexpectedAnswer(
            f"Received a redirect ({response.status_code}) to {place!r}. Give that address instead."
        )
    problem = _problem(response)
    status = response.status_code
    title = _phrase(status)
    return _class_of(status, own=problem is not None)(
        status,
        _text(problem, "code") or f"http_{status}",
        _text(problem, "title") or title,
        _text(problem, "detail") or _foreign(response, title),
        _text(problem, "request_id") or response.headers.get("X-Request-ID"),
        retry_after_s(response.headers),
        _number(problem, "distance"),
        _number(problem, "limit"),
    )


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait, at least 0; None where it says nothing readable.

    Source: RFC 9110, 10.2.3: seconds, or a date. A date is compared with the answer's own, if it has one: the
    clocks of the two machines may differ.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    until = _date(value)
    now = _date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds()) if until else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _class_of(status: int, *, own: bool) -> type[ApiError]:
    if status in _KEY:
        return Unauthorized
    if status in _LATER:
        return Busy
    # What a proxy refuses may be no fault of the image, unless it is its size.
    if status in _ABOUT_THE_UPLOAD and (own or status == _TOO_LARGE):
        return Refused
    return ServerFailed if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ApiError


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and isinstance(body.get("code"), str) else None


def _text(problem: dict[str, Any] | None, name: str) -> str | None:
    value = problem and problem.get(name)
    return value if isinstance(value, str) else None


def _number(problem: dict[str, Any] | None, name: str) -> float | None:
    value = problem and problem.get(name)
    return value if isinstance(value, float) else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP status {status}"


def _foreign(response: httpx.Response, title: str) -> str:
    kind = response.headers.get("Content-Type", "").partition(";")[0] or "no declared type"
    return (
        f"Received {title!r} with a body of {kind}, which is not the service's form of an error. "
        "A proxy before it, or another server at this address, has answered."
    )
