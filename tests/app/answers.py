"""What every answer to bad input must be."""

import httpx


def check(answer: httpx.Response, status: int, code: str, words: tuple[str, ...] = ()) -> None:
    """Check that an answer is a problem of this status and code, with these words in its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "code", "detail", "request_id"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    for word in words:
        assert word in problem["detail"]
