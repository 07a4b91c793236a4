"""The service under what happens to a process: killed, no disk, no descriptors left, another time."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from benchmarks.harness.servers import free_port, process_tree
from tests.app.gates import WAIT_SECONDS, wait_until
from tests.app.processes import answers, check_idle, is_running, works
from tests.app.server import Server, launch
from tests.images import encode, radiograph

PNG: Final = encode(radiograph(), "PNG")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is about Linux")


MOUNTS: Final = ("unshare", "--map-root-user", "--mount") if os.geteuid() else ("unshare", "--mount")
"""Runs a command in a mount namespace of its own."""

needs_mounts = pytest.mark.skipif(not works(*MOUNTS), reason="it takes root or user namespaces, and unshare")


def after(script: str) -> tuple[str, ...]:
    """Wrapper that runs a shell script in a mount namespace first."""
    return (*MOUNTS, "sh", "-ec", f'{script}\nexec "$@"', "sh")


@pytest.fixture
def expected(server: Server) -> dict[str, float]:
    """The probabilities of the image."""
    return server.client.post("/predict", content=PNG).json()["probabilities"]


def check_answer(server: Server, expected: dict[str, float]) -> None:
    answer = server.client.post("/predict", content=PNG)
    assert answer.status_code == 200, answer.text
    assert answer.json()["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_killed_at_any_moment_it_starts_again_on_the_same_port_and_cache(
    tmp_path: Path, expected: dict[str, float]
) -> None:
    port, cache = free_port(), tmp_path / "cache"
    url = f"http://127.0.0.1:{port}"

    def is_writing() -> bool:
        return any(cache.glob("*/partial-*"))

    def has_written() -> bool:
        return any(cache.glob("*/*.blob"))

    for moment in (lambda: answers(url), is_writing, has_written):
        with launch(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, port=port, cache_dir=cache) as process:
            wait_until(lambda moment=moment, process=process: moment() or process.poll() is not None)
            children = process_tree(process.pid)
            process.kill()
            assert process.wait() == -signal.SIGKILL, process.stderr and process.stderr.read()
        wait_until(lambda children=children: not any(map(is_running, children)))
    for _ in range(2):
        with Server(port=port, cache_dir=cache) as server:
            check_answer(server, expected)  # over a connection that is open when the service is killed
            children = process_tree(server.pid)
            assert "cached compilation" in server.client.get("/model").json()["engine"]
            assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_until(lambda children=children: not any(map(is_running, children)))
        assert not [line for line in server.log() if line["level"] != "INFO"]


READ_ONLY: Final = """
awk '$2 !~ "^/(proc|sys|dev)" {print $2}' /proc/self/mounts | sort -u | while read -r place; do
    mount -o remount,bind,ro "$place"
done
mount -t tmpfs -o ro none /tmp
"""


@needs_mounts
def test_everything_read_only(cache_dir: Path, expected: dict[str, float], tmp_path: Path) -> None:
    if not works(*after(READ_ONLY)):
        pytest.skip("file systems cannot be made read-only here")
    proof = f"""
import tempfile
for folder in ({str(tmp_path)!r}, "/tmp", "/var/tmp", "."):
    try:
        tempfile.TemporaryFile(dir=folder)
    except OSError:
        continue
    raise SystemExit(f"{{folder}} can be written to")
"""
    with Server(proof, wrapper=after(READ_ONLY), cache_dir=tmp_path / "cache") as server:
        check_answer(server, expected)
        assert server.client.post("/explain", files={"file": PNG}).status_code == 200
        assert "no compilation cache" in server.client.get("/model").json()["engine"]
        assert server.stop() == 0
    assert "Read-only file system" in server.wait_for_log("/cache cannot be used")["message"]


@needs_mounts
def test_cache_on_a_full_disk(expected: dict[str, float], tmp_path: Path) -> None:
    full = after(f"mount -t tmpfs -o size=1m none {tmp_path}")
    with Server(wrapper=full, cache_dir=tmp_path / "cache") as server:
        check_answer(server, expected)
        assert "no compilation cache" in server.client.get("/model").json()["engine"]
        place = Path(f"/proc/{server.pid}/root{tmp_path}")
        assert not list(place.glob("cache/*/*"))
    assert "No space left" in server.wait_for_log("cannot be kept")["message"]


def test_cache_without_leave_to_write(expected: dict[str, float], tmp_path: Path) -> None:
    # Root may write anywhere by a capability, which a container drops.
    bound = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    if bound and not works(*bound):
        pytest.skip("setpriv is missing, which makes root heed modes")
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o500)
    with Server(wrapper=bound, cache_dir=cache) as server:
        check_answer(server, expected)
        assert "no compilation cache" in server.client.get("/model").json()["engine"]
    assert "Permission denied" in server.wait_for_log("/cache cannot be used")["message"]


JUMPS: Final = """
import itertools, time
for name, unit in (("time", 1), ("time_ns", 10**9)):
    jumps = itertools.cycle((0, 6 * 3600, -6 * 3600, 86400))
    def jump(real=getattr(time, name), unit=unit, jumps=jumps):
        return real() + next(jumps) * unit
    setattr(time, name, jump)
"""
"""Prelude under which the time of day is another at every look."""


def test_jumps_of_the_clock_change_nothing(cache_dir: Path, expected: dict[str, float]) -> None:
    with Server(JUMPS, cache_dir=cache_dir, request_timeout_ms=2000, max_queue=1) as server:
        for _ in range(20):
            check_answer(server, expected)
        half = b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Length: 100\r\n\r\nhalf"
        with socket.create_connection(server.address, timeout=WAIT_SECONDS) as slow:
            start = time.monotonic()
            slow.sendall(half)
            wait_until(lambda: server.metric("cxr_requests_in_progress") == 1)
            refused = server.client.post("/predict", content=PNG)
            assert refused.status_code == 503
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            assert slow.recv(20).startswith(b"HTTP/1.1 408")
            assert time.monotonic() - start > 1.5
        assert server.metric("cxr_requests_in_progress") == 0
        check_answer(server, expected)
        check_idle(server.pid)
        assert server.stop() == 0
    assert len({line["time"][:13] for line in server.log()}) > 1


def connect(address: tuple[str, int], count: int) -> Sequence[socket.socket]:
    return [socket.create_connection(address, timeout=WAIT_SECONDS) for _ in range(count)]


def test_no_more_file_descriptors(cache_dir: Path, expected: dict[str, float]) -> None:
    """A limit that the service could not see at its start, where it asks for as many as its settings need."""
    with Server(cache_dir=cache_dir) as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
        with ExitStack() as open_connections:
            for connection in connect(server.address, 100):
                open_connections.enter_context(connection)
            check_idle(server.pid)
        wait_until(lambda: answers(server.url))
        check_answer(server, expected)
        assert server.stop() == 0
