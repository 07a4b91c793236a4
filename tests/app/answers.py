"""What every answer to bad input must be."""

from collections.abc import Set

import httpx


def check(
    answer: httpx.Response, status: int, code: str, words: tuple[str, ...] = (), *, members: Set[str] = frozenset()
) -> None:
    """Check that an answer is a problem of this status and code, with these words in its detail, and more members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "code", "detail", "request_id", *members}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    for word in words:
        assert word in problem["detail"]
