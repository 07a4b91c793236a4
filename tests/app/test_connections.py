"""No connection but the configured ones, and nothing written at home: OpenVINO's telemetry and others' included."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.app.isolated import NO_CI
from tests.app.patient import WHOLE
from tests.app.processes import works
from tests.app.server import Server
from tests.client.intake.conftest import start
from tests.images import encode, radiograph

PNG: Final = encode(radiograph(), "PNG")

needs_strace = pytest.mark.skipif(
    not works("strace", "-f", "-o", os.devnull), reason="it takes strace, and leave to trace"
)


WATCH: Final = """
import json, os, sys
NAMES = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo",
         "socket.sendto", "socket.sendmsg")
def watch(event, arguments):
    if event in NAMES:
        values = [value for value in arguments if isinstance(value, (str, int, tuple, type(None)))]
        if values != [None]:  # of a connected pair of sockets
            os.write(2, (json.dumps({"message": event, "values": values}) + "\\n").encode())
sys.addaudithook(watch)
"""
"""Prelude under which every connection that Python makes, and every look-up of a name, is told on standard error."""


def watched(lines: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    return [(line["message"], line["values"]) for line in lines if line["message"].startswith("socket.")]


def ask(server: Server) -> None:
    for path in ("/", "/docs", "/model", "/metrics"):
        assert server.client.get(path).status_code == 200
    for data in (WHOLE, PNG):
        assert server.client.post("/predict?explain=1&preview=1", content=data).status_code == 200
        assert server.client.post("/explain", files={"file": data}).status_code == 200


def test_the_service_connects_to_nobody(cache_dir: Path) -> None:
    with Server(WATCH, cache_dir=cache_dir, **NO_CI) as server:
        ask(server)
        assert server.stop() == 0
    host, _ = server.address
    assert {(event, values[0]) for event, values in watched(server.log())} <= {("socket.getaddrinfo", host)}


def test_cxr_intake_connects_to_the_service_alone(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "image.png").write_bytes(PNG)
    (folder / "notes.txt").write_bytes(b"no image")
    with start(tmp_path / "ledger", "--url", server.url, folder, prelude=WATCH) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    seen = watched([json.loads(line) for line in err.splitlines() if line.startswith("{")])
    host, port = server.address
    assert ("socket.connect", [[host, port]]) in seen
    assert {values[0] for event, values in seen if event == "socket.getaddrinfo"} <= {host}
    assert all(values == [[host, port]] for event, values in seen if event == "socket.connect")
    assert {event for event, _ in seen} <= {"socket.connect", "socket.getaddrinfo"}


def test_nothing_is_written_at_home(cache_dir: Path, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    with Server(cache_dir=cache_dir, HOME=home, TMPDIR=temporary, **NO_CI) as server:
        ask(server)
        assert server.stop() == 0
    assert [*home.iterdir(), *temporary.iterdir()] == []


CALLS: Final = "connect,sendto,sendmsg,sendmmsg,open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link"


def calls(trace: str) -> Iterator[str]:
    """Join the lines of calls in which strace showed another thread's."""
    begun = dict[str, str]()
    for line in trace.splitlines():
        process, call = line.split(maxsplit=1)
        if call.endswith("<unfinished ...>"):
            begun[process] = call.removesuffix("<unfinished ...>")
        else:
            yield begun.pop(process, "") + re.sub(r"^<\.\.\. \w+ resumed>", "", call)
    yield from begun.values()


@needs_strace
def test_the_system_is_asked_for_no_connection_and_no_file(cache_dir: Path, server: Server, tmp_path: Path) -> None:
    """What libraries do by themselves, too. The model is compiled already: ``server`` has done it."""
    server.client.get("/readyz")
    trace = tmp_path / "trace"
    strace = ("strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(trace))
    with Server(wrapper=strace, cache_dir=cache_dir, **NO_CI) as own:
        ask(own)
        assert own.stop() == 0
    lines = list(calls(trace.read_text()))
    assert any("compiled" in line or ".blob" in line for line in lines)
    connections = [line for line in lines if re.search(r"\b(connect|send\w+)\(.*sa_family=(?!AF_UNIX)", line)]
    assert connections == []
    written = [
        line
        for line in lines
        if re.search(r"O_WRONLY|O_RDWR|O_CREAT|\b(creat|mkdir\w*|rename\w*|link)\(", line)
        and not re.search(r'"/(dev|proc)/| = -1 E', line)
    ]
    assert written == []
