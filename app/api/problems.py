"""Errors as HTTP answers: ``application/problem+json`` (RFC 9457) with a stable ``code``.

The one place that knows which status belongs to which error.
"""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from app.api.schemas import Problem
from app.errors import (
    AccessRefused,
    BodyTooSlow,
    CxrError,
    DeadlinePassed,
    HeaderTooLarge,
    HeaderTooSlow,
    InferenceFailed,
    NotAChestRadiograph,
    Overloaded,
    RateLimited,
    RequestError,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownHost,
    UnlikeTraining,
    UnsupportedType,
    UnusableImage,
)

MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final[dict[type[CxrError], HTTPStatus]] = {
    RequestError: HTTPStatus.BAD_REQUEST,
    TooLarge: HTTPStatus(413),
    UnsupportedType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnusableImage: HTTPStatus(422),
    AccessRefused: HTTPStatus.FORBIDDEN,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    UnknownHost: HTTPStatus.MISDIRECTED_REQUEST,
    HeaderTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    HeaderTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    BodyTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    DeadlinePassed: HTTPStatus.GATEWAY_TIMEOUT,
    InferenceFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
}


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
"""Source: RFC 9110, 9; RFC 5789."""


def known_method(method: str) -> str:
    """Name a request's method where it is one of HTTP's: a caller can make up any other, for log and metrics too."""
    return method if method in _METHODS else "other method"


def status_of(error: type[CxrError]) -> HTTPStatus:
    """Return the status of an error: that of its nearest listed base class, else 500."""
    return next((_STATUS[base] for base in error.__mro__ if base in _STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def install(app: FastAPI) -> None:
    """Answer every error of an application as a problem."""
    app.add_exception_handler(CxrError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameters)
    app.add_exception_handler(HTTPException, _on_http_exception)


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    headers: dict[str, str] | None = None,
    **members: float | None,
) -> Response:
    """Build the answer for one problem, with what else it has, and note its code for log and metrics."""
    request.state.code = code
    body = problem_body(status, code, detail, request.state.request_id, **members)
    return Response(body, status, headers=headers, media_type=MEDIA_TYPE)


def problem_body(status: int, code: str, detail: str, request_id: str, **members: float | None) -> bytes:
    """Write one problem down; members that are None are left out."""
    title = HTTPStatus(status).phrase
    content = Problem(title=title, status=status, code=code, detail=detail, request_id=request_id, **members)
    return content.model_dump_json(exclude_none=True).encode()


def responses(*errors: type[CxrError]) -> dict[int | str, dict[str, Any]]:
    """Describe errors for OpenAPI, one example a code."""
    # Given as `model`, FastAPI would describe it as application/json.
    schema = Problem.model_json_schema()
    described: dict[int | str, dict[str, Any]] = {}
    statuses = [(error, status_of(error)) for error in errors]
    statuses += [(error, HTTPStatus.TOO_MANY_REQUESTS) for error in errors if error is Overloaded]  # by a setting
    for error, status in statuses:
        example = Problem(
            title=status.phrase,
            status=status,
            code=error.code,
            detail=(error.__doc__ or "").strip(),
            request_id="4f1c0e1c9a3b",
            **({"distance": 4.31, "limit": 1.62} if error is NotAChestRadiograph else {}),
        )
        entry = described.setdefault(
            int(status),
            {"description": status.phrase, "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}},
        )
        entry["content"][MEDIA_TYPE]["examples"][error.code] = {"value": example.model_dump(exclude_none=True)}
    return described


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CxrError)
    return answer_error(request, error, request.app.state.service.settings.overload_status)


def answer_error(request: Request, error: CxrError, overload_status: int) -> Response:
    """Build the answer for an error; ``overload_status`` is that of ``Overloaded``."""
    if isinstance(error, InferenceFailed):
        # What the engine said stays in the log: it is of no use to a caller.
        detail = (
            "The model failed on this image. The fault is the service's; its log has the details under the request id."
        )
        request.state.exception = error
    else:
        detail = str(error)
    status = overload_status if isinstance(error, Overloaded) else status_of(type(error))
    members = {"distance": error.distance, "limit": error.limit} if isinstance(error, UnlikeTraining) else {}
    return problem(request, status, error.code, detail, _headers(error), **members)


def _headers(error: CxrError) -> dict[str, str] | None:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(error.retry_after_s)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else None


async def _on_invalid_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return problem(request, 400, RequestError.code, f"The parameter {name!r} is not valid: {first['msg']}.")


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    detail = (
        f"There is no {known_method(request.method)} at this address. See /docs."
        if error.status_code in (404, 405)
        else error.detail
    )
    return problem(request, error.status_code, code, detail, dict(error.headers or {}))
