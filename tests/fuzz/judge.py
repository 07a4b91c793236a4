"""What every answer to a mutant must be."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.errors import DecoderFailed
from tests.fuzz.requests import Posting

PROBLEM: Final = "application/problem+json"
LIMIT_SECONDS: Final = 2.0
"""Most time that an answer may take, of a service that has nothing else to do."""

_INTERNALS: Final = re.compile(
    r"0x[0-9a-f]{6}"  # a memory address
    r"|[a-z]Error\b|Exception\b|Warning\b"  # a class
    r"|<[^>]* object|<class "
    r"|Traceback|File \"|\bline \d+"
    r"|site-packages|/usr/|/home/|\.py\b|\b(PIL|pydicom|numpy|imagecodecs|libtiff)\b"
    r"|[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]"  # what a terminal may take for a command, or nothing can show
)
_ANSWERED_ELSEWHERE: Final = frozenset({(404, "not_found"), (405, "method_not_allowed")})

Codes = frozenset[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: The status.
        headers: By name in lower case.
        body: Its bytes.
        seconds: From the first byte sent to the last received.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def code(self) -> str:
        """The problem's code; "-" for an answer that is no problem."""
        return str(json.loads(self.body)["code"]) if self.headers.get("content-type") == PROBLEM else "-"


def documented_codes(description: Mapping[str, Any]) -> Codes:
    """Read the statuses and codes of refused uploads from an OpenAPI description."""
    return frozenset(
        (int(status), code)
        for path in ("/predict", "/explain")
        for status, answer in description["paths"][path]["post"]["responses"].items()
        for code in answer.get("content", {}).get(PROBLEM, {}).get("examples", {})
    )


def faults(posting: Posting, answer: Answer, documented: Codes) -> list[str]:
    """List what is wrong with an answer, save for its time."""
    if answer.status >= 500:
        return [f"status {answer.status}: {answer.body[:500]!r}"]
    try:
        return _faults_of_answer(posting, answer) if answer.status == 200 else _faults_of_problem(answer, documented)
    except (ValueError, KeyError, TypeError) as error:
        return [f"status {answer.status} with a body that cannot be read ({error!r}): {answer.body[:500]!r}"]


def _faults_of_answer(posting: Posting, answer: Answer) -> list[str]:
    if posting.target.startswith("/explain"):
        is_png = answer.headers.get("content-type") == "image/png" and answer.body.startswith(b"\x89PNG")
        return [] if is_png else ["/explain answered no PNG"]
    if answer.headers.get("content-type") != "application/json":
        return [f"content type {answer.headers.get('content-type')}"]
    content = json.loads(answer.body)
    found = [f"warning {note['message']!r}" for note in content["warnings"] if _INTERNALS.search(note["message"])]
    if not math.isclose(sum(content["probabilities"].values()), 1, abs_tol=1e-4):
        found.append(f"probabilities {content['probabilities']}")
    return found


def _faults_of_problem(answer: Answer, documented: Codes) -> list[str]:
    if answer.headers.get("content-type") != PROBLEM:
        return [f"status {answer.status} as {answer.headers.get('content-type')}: {answer.body[:200]!r}"]
    content, found = json.loads(answer.body), []
    if set(content) - {"distance", "limit"} != {"type", "title", "status", "code", "detail", "request_id"}:
        found.append(f"members {sorted(content)}")
    if (answer.status, content["code"]) not in documented | _ANSWERED_ELSEWHERE:
        found.append(f"status {answer.status} with the code {content['code']!r} is not documented")
    if content["status"] != answer.status:
        found.append(f"status {answer.status}, said to be {content['status']}")
    if content["code"] == DecoderFailed.code:
        found.append(f"a decoder failed: {content['detail']}")  # It costs one request alone, and should not be.
    if internals := _INTERNALS.search(content["detail"]):
        found.append(f"{internals[0]!r} in the detail {content['detail']!r}")
    return found
