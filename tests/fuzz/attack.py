"""Post mutants to the real server over several connections, and judge what it answers."""

import http.client
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from tests.app.server import Server
from tests.fuzz.judge import LIMIT_SECONDS, Answer, documented_codes, faults
from tests.fuzz.requests import Posting, make_posting

CONNECTIONS: Final = 4
MODALITIES: Final = "CR,DX,RG,CT,MR,NM,OT,US,XA"
"""Of a service under attack: so that pydicom's files are decoded, too."""

_PATIENCE_SECONDS: Final = 60
_RETRIES: Final = 3
_SLOWEST: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """A request that was not answered as it should be."""

    number: int
    posting: Posting
    fault: str


@dataclass(slots=True)
class Results:
    """What came of an attack.

    Attributes:
        answers: How many, by status and code.
        findings: What went wrong.
        slowest: Seconds, number and origin of the slowest answers, slowest first.
        late: Numbers of the requests whose answer took too long while others were being answered.
    """

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: list[tuple[float, int, str]] = field(default_factory=list)
    late: list[int] = field(default_factory=list)

    def note(self, number: int, posting: Posting, answer: Answer, found: list[str]) -> None:
        """Count an answer in."""
        self.answers[answer.status, "?" if found else answer.code] += 1
        self.findings += [Finding(number, posting, fault) for fault in found]
        self.slowest = sorted([*self.slowest, (answer.seconds, number, posting.origin)], reverse=True)[:_SLOWEST]
        if answer.seconds > LIMIT_SECONDS:
            self.late.append(number)


class Connection:
    """One connection, opened again where the service closed it."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Prepare; it is opened with the first request."""
        self._connection = http.client.HTTPConnection(*address, timeout=_PATIENCE_SECONDS)

    def post(self, posting: Posting) -> Answer:
        """Post a request and read the answer.

        Raises:
            OSError, http.client.HTTPException: None came.
        """
        try:
            return self._post(posting)
        except ConnectionError:
            self._connection.close()  # The service may close a connection between two requests, but not twice.
            return self._post(posting)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _post(self, posting: Posting) -> Answer:
        begin = time.perf_counter()
        headers = {} if posting.content_type is None else {"Content-Type": posting.content_type}
        self._connection.request("POST", posting.target, posting.body, headers)
        response = self._connection.getresponse()
        body = response.read()
        seconds = time.perf_counter() - begin
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body, seconds)


class Attack:
    """Mutants of one seed against one service.

    Attributes:
        results: What came of it so far.
    """

    def __init__(self, server: Server, seed: int) -> None:
        """Ask the service which refusals it documents."""
        self._server, self._seed = server, seed
        self._documented = documented_codes(server.client.get("/openapi.json").json())
        self._lock = threading.Lock()
        self.results = Results()

    def post(self, numbers: Sequence[int], connections: int = CONNECTIONS) -> None:
        """Post the mutants of these numbers, several at a time."""
        with ThreadPoolExecutor(connections) as workers:
            for _ in workers.map(self._post_in_turn, [numbers[first::connections] for first in range(connections)]):
                pass

    def post_late_alone(self) -> None:
        """Post those that took too long again, with nothing else to do: a finding is what then takes long each time."""
        with Connection(self._server.address) as connection:
            for number in self.results.late:
                posting = make_posting(self._seed, number)
                if all(connection.post(posting).seconds > LIMIT_SECONDS for _ in range(_RETRIES)):
                    fault = f"more than {LIMIT_SECONDS} s for an answer, with nothing else to do"
                    self.results.findings.append(Finding(number, posting, fault))
        self.results.late.clear()

    def _post_in_turn(self, numbers: Sequence[int]) -> None:
        with Connection(self._server.address) as connection:
            for number in numbers:
                posting = make_posting(self._seed, number)
                try:
                    answer = connection.post(posting)
                except (OSError, http.client.HTTPException) as error:
                    with self._lock:
                        self.results.findings.append(Finding(number, posting, f"no answer: {error!r}"))
                    continue
                found = faults(posting, answer, self._documented)
                with self._lock:
                    self.results.note(number, posting, answer, found)


def answers_to(server: Server, postings: Sequence[Posting]) -> list[Any]:
    """What the service answers, without what belongs to the request: the same again, whatever came between."""
    with Connection(server.address) as connection:
        answers = [json.loads(connection.post(posting).body) for posting in postings]
    of_the_request = ("request_id", "timings_ms")
    return [{name: value for name, value in answer.items() if name not in of_the_request} for answer in answers]


def memory_bytes(pid: int) -> int:
    """Memory of a process with all its children, in bytes; what they share counts once."""
    process = psutil.Process(pid)
    return sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True)))


def faults_of_log(server: Server) -> list[str]:
    """Lines of the log so far that are no JSON or report a fault of the service; those that differ in numbers, once."""
    found: dict[str, str] = {}
    for line in filter(None, list(server.stderr)):
        try:
            is_fault = json.loads(line)["level"] in ("ERROR", "CRITICAL")
        except (ValueError, TypeError, KeyError):
            is_fault = True
        if is_fault:
            found.setdefault(re.sub(r"[0-9a-f]*\d[0-9a-f]*", "", line), line)
    return list(found.values())
