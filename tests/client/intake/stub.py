"""A small HTTP server in place of the service, for what the real one cannot be made to answer."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

OVERLAY: Final = b"\x89PNG\r\n\x1a\n..."

Answer: TypeAlias = tuple[int, dict[str, str], bytes]


def prediction(model: str = "a" * 64) -> Answer:
    body = {
        "label": "COVID-19",
        "probabilities": {"non-COVID": 0.25, "COVID-19": 0.75},
        "threshold": 0.5,
        "model": {"name": "stub", "version": 1, "digest": model},
        "input": {
            "format": "PNG",
            "width": 1,
            "height": 1,
            "bits": 8,
            "photometric_interpretation": None,
            "seen_region": {"left": 0, "top": 0, "width": 1, "height": 1},
        },
        "warnings": [],
        "heatmap": None,
        "request_id": "r",
        "timings_ms": {},
    }
    return 200, {}, json.dumps(body).encode()


def problem(status: int, code: str, **headers: str) -> Answer:
    body = {"type": "about:blank", "title": "t", "status": status, "code": code, "detail": "d", "request_id": "r"}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()


@dataclass
class Stub:
    """What a stub answers, and what it was sent.

    Attributes:
        answer: Of a post: given the path, the body, and how often this body came there before.
        model: The digest that it names.
        ready: Whether it says so.
        posts: Path and body's SHA-256 of each post, in order.
        heads: Request line and headers of each request.
    """

    answer: Callable[[str, bytes, int], Answer] = lambda path, body, before: prediction()
    model: str = "a" * 64
    ready: bool = True
    url: str = ""
    posts: list[tuple[str, str]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, path: str) -> Answer:
        if path == "/readyz":
            return (200, {}, b'{"status": "ready"}') if self.ready else problem(503, "not_ready")
        metadata = {"name": "stub", "version": 1, "threshold": 0.5}
        model = {"digest": self.model, "engine": "none", "metadata": metadata, "card": ""}
        return 200, {}, json.dumps(model).encode()

    def post(self, path: str, body: bytes) -> Answer:
        sent = (path, hashlib.sha256(body).hexdigest())
        with self.lock:
            before = self.posts.count(sent)
            self.posts.append(sent)
        return self.answer(path, body, before)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A caller that was killed has gone."""


@contextmanager
def serving(stub: Stub, port: int = 0) -> Iterator[Stub]:
    """Serve it at ``stub.url``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(*stub.get(self.path))

        def do_POST(self) -> None:
            stub.authorizations.add(self.headers["Authorization"])
            self._send(*stub.post(self.path, self.rfile.read(int(self.headers["Content-Length"]))))

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            stub.heads.append(f"{self.requestline}\n{self.headers}")
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with _Server(("127.0.0.1", port), Handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
