"""Servers in processes of their own."""

import sys
import time
from pathlib import Path

import pytest

from benchmarks.harness.caller import Caller
from benchmarks.harness.servers import Server, ServerFailed, free_port

_SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_waits_for_its_turn(tmp_path: Path) -> None:
    port = free_port()
    with Server([sys.executable, "-c", _SERVER, str(port)], tmp_path / "log", {}, port) as server:
        state = Path(f"/proc/{server.pid}/stat")
        server.pause()
        while state.read_text().split()[2] != "T":
            time.sleep(0.01)
        server.resume()
        with Caller(server.url) as caller:
            assert caller.send("GET", "/readyz") == b""
        assert server.peak_memory_mb() > 1
    assert not state.exists()


def test_one_that_ends_says_why(tmp_path: Path) -> None:
    code = "import sys; sys.exit('the reason')"
    with pytest.raises(ServerFailed, match="the reason"):
        Server([sys.executable, "-c", code], tmp_path / "log", {}, free_port())
