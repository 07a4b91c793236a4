"""Servers in processes of their own."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.harness.caller import Caller
from benchmarks.harness.servers import ROOT, Server, ServerFailed, free_port, process_tree

_SERVER = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def state(process: int) -> str | None:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):  # The second if it ends between open and read.
        return None


def wait_for_state(process: int, wanted: str | None) -> None:
    deadline = time.monotonic() + 10
    while state(process) != wanted:
        assert time.monotonic() < deadline, f"{state(process)}, not {wanted}"
        time.sleep(0.01)


def test_a_server_waits_for_its_turn(tmp_path: Path) -> None:
    port = free_port()
    with Server([sys.executable, "-c", _SERVER, str(port)], tmp_path / "log", {}, port) as server:
        first, worker = process_tree(server.pid)
        server.pause()
        for process in (first, worker):
            wait_for_state(process, "T")
        server.resume()
        for process in (first, worker):
            wait_for_state(process, "S")
        with Caller(server.url) as caller:
            assert caller.send("GET", "/readyz") == b""
        assert server.peak_memory_mb() > 1
    assert state(first) is None
    wait_for_state(worker, None)


def test_one_that_ends_says_why(tmp_path: Path) -> None:
    code = "import sys; sys.exit('the reason')"
    with pytest.raises(ServerFailed, match="the reason"):
        Server([sys.executable, "-c", code], tmp_path / "log", {}, free_port())


def test_a_benchmark_that_is_terminated_leaves_no_server_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SERVER, str(port := free_port())]
    code = f"""
import time
from pathlib import Path
from benchmarks.harness.servers import Server, end_in_order_when_terminated
end_in_order_when_terminated()
with Server({command!r}, Path({str(tmp_path / "log")!r}), {{}}, {port}) as server:
    server.pause()
    print(server.pid, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=-1, stderr=-1, text=True) as benchmark:
        assert benchmark.stdout
        first, worker = process_tree(int(benchmark.stdout.readline()))
        benchmark.terminate()
        assert "Terminated." in benchmark.communicate(timeout=30)[1]
    for process in (first, worker):
        wait_for_state(process, None)
