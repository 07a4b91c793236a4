"""Debian's Caddy, as ``deploy/caddy`` configures it, in front of a service under test."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import IO, Any, Final

import httpx
import pytest

from tests.app.gates import wait_until
from tests.app.server import ROOT, Server

CADDYFILE: Final = ROOT / "deploy" / "caddy" / "Caddyfile"
HOST: Final = "localhost"
_STOP_SECONDS: Final = 30

needs_caddy: Final = pytest.mark.skipif(
    not shutil.which("caddy"), reason="caddy is missing; Debian: apt-get install --no-install-recommends caddy"
)


class Caddy:
    """A running Caddy; entered as a context manager it is stopped at the end.

    Attributes:
        url: Where it is reached.
        authority: Certificate of its own authority, PEM.
        client: An HTTP client that trusts this authority alone.
        log: Its log so far; complete once it has stopped.
    """

    def __init__(self, server: Server, folder: Path, **variables: object) -> None:
        """Start, and wait until it answers.

        Args:
            server: What it stands before.
            folder: Empty; for its authority and certificates.
            **variables: Of the Caddyfile.
        """
        port = _free_port()
        upstream = ":".join(map(str, server.address))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
        environment |= {"XDG_DATA_HOME": str(folder / "data"), "XDG_CONFIG_HOME": str(folder / "config")}
        environment |= {"CXR_TLS_PORT": str(port), "CXR_UPSTREAM": upstream}
        environment |= {name.upper(): str(value) for name, value in variables.items()}
        command = ["caddy", "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,))
        self._reader.start()
        self.url = f"https://{HOST}:{port}"
        self.authority = folder / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        try:
            wait_until(lambda: self._process.poll() is not None or _has_certificate(port))
            assert self._process.poll() is None, "".join(self._lines)
        except BaseException:
            self._process.kill()
            self._finish()
            raise
        trusted = ssl.create_default_context(cafile=self.authority) if self.authority.exists() else True
        self.client = httpx.Client(base_url=self.url, verify=trusted, timeout=60, trust_env=False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        url = httpx.URL(self.url)
        return url.host, url.port or 443

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines if line.startswith("{")]

    def __enter__(self) -> "Caddy":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._process.terminate()
        self._finish()

    def _finish(self) -> None:
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        self._reader.join()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.append(line)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _has_certificate(port: int) -> bool:
    """Whether it listens, and has got the certificate that it gets after that."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((HOST, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=HOST),
        ):
            return True
    except OSError:
        return False
