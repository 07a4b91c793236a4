"""A log and standard outputs that take nothing, or not in time, cost no answer."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from benchmarks.harness.servers import free_port
from tests.app.gates import WAIT_SECONDS, wait_until
from tests.app.processes import answers, check_idle
from tests.app.server import Server, launch
from tests.images import encode, radiograph

PNG: Final = encode(radiograph(), "PNG")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and sizes of pipes are Linux's")

FULL_DISK: Final = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"
NOBODY_READS: Final = """
import fcntl, os
never_read, end = os.pipe()
fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
os.dup2(end, 2)
"""
READER_GONE: Final = "import os; gone, end = os.pipe(); os.close(gone); os.dup2(end, 2)"


@pytest.mark.parametrize("prelude", [FULL_DISK, NOBODY_READS, READER_GONE], ids=["full disk", "slow", "gone"])
def test_log_that_takes_nothing_costs_no_answer(prelude: str, cache_dir: Path) -> None:
    with Server(prelude, cache_dir=cache_dir) as server:
        for _ in range(50):  # some 250 bytes a line
            assert server.client.post("/predict", content=b"no image").status_code == 415
        assert server.client.post("/predict", content=PNG).status_code == 200
        check_idle(server.pid)
        assert server.stop() == 0


@contextmanager
def standard_outputs(kind: str) -> Iterator[dict[str, object]]:
    """Standard outputs of a process that cannot be written to, as arguments of ``launch``."""
    with ExitStack() as stack:
        if kind == "full disk":
            full = stack.enter_context(Path("/dev/full").open("wb"))
            yield {"stdout": full, "stderr": full}
        elif kind == "closed":
            yield {"wrapper": ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")}
        else:
            reader, writer = os.pipe()
            os.close(reader)
            stack.callback(os.close, writer)
            yield {"stdout": writer, "stderr": writer}


@pytest.mark.parametrize("kind", ["full disk", "closed", "reader gone"])
def test_outputs_that_take_nothing_cost_no_answer(kind: str, cache_dir: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    with standard_outputs(kind) as outputs, launch(port=port, cache_dir=cache_dir, **outputs) as process:
        try:
            with httpx.Client(base_url=url, trust_env=False, timeout=WAIT_SECONDS) as client:
                wait_until(lambda: process.poll() is not None or answers(url))
                wait_until(lambda: client.get("/readyz").status_code == 200)
                found = [client.post("/predict", content=PNG) for _ in range(3)]
                assert [answer.status_code for answer in found] == [200] * 3
                client.get("/nowhere")
            process.terminate()
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            process.kill()
    with standard_outputs(kind) as outputs, launch(port="none", **outputs) as process:
        assert process.wait(WAIT_SECONDS) == 2


def test_lines_that_were_lost_are_counted_once_there_is_room(cache_dir: Path, tmp_path: Path) -> None:
    """The log's reader stops, for longer than lines are kept, and goes on."""
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    few = f"""
import fcntl, os
import app.logs
app.logs.LineWriter.__init__.__defaults__ = (10,)
end = os.open({str(pipe)!r}, os.O_RDWR)
fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
os.dup2(end, 2)
"""
    with Server(few, cache_dir=cache_dir) as server:
        for _ in range(100):
            server.client.get("/nowhere")
        with pipe.open("rb") as reader:
            os.set_blocking(reader.fileno(), False)
            log = b""

            def read_on() -> bool:
                nonlocal log
                server.client.get("/nowhere")
                log += reader.read() or b""
                return b"lines of the log were lost" in log

            wait_until(read_on)
    assert log.count(b"There is no GET") == 0
    assert log.count(b'"status": 404') >= 10
