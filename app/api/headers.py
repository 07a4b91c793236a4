"""The headers that every answer has: what a browser must not do with it."""

from collections.abc import Sequence
from typing import Final

from starlette.types import Scope

Header = tuple[bytes, bytes]

_COMMON: Final[Sequence[Header]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

_NOTHING: Final = b"default-src 'none'; frame-ancestors 'none'"
_SWAGGER: Final = (
    b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Swagger UI begins with an inline script and styles its elements inline; it shows nothing that a caller sent."""


def security_headers(scope: Scope, headers: Sequence[Header]) -> list[Header]:
    """Complete the headers of an answer; what it says itself is left as it is.

    Answers are kept by nobody, save those with an ETag, which are asked for again each time: the page's files.
    """
    names = {name.lower() for name, _ in headers}
    policy = _SWAGGER if scope["path"] == "/docs" else _NOTHING
    caching = b"no-cache" if b"etag" in names else b"no-store"
    own = (*_COMMON, (b"content-security-policy", policy), (b"cache-control", caching))
    return [*headers, *(header for header in own if header[0] not in names)]
