"""Debian's Prometheus, as ``deploy/prometheus`` configures it, watching a service under test."""

import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import IO, Any, Final

import httpx
import pytest
import yaml

from tests.app.server import ROOT, Server

CONFIG: Final = ROOT / "deploy" / "prometheus" / "prometheus.yml"
_SCRAPE_INTERVAL: Final = "500ms"
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 30

needs_prometheus: Final = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus and promtool are missing; Debian: apt-get install --no-install-recommends prometheus",
)


class Prometheus:
    """A running Prometheus; entered as a context manager it is stopped at the end.

    Attributes:
        client: An HTTP client of its API.
    """

    def __init__(self, server: Server, folder: Path, key: str = "") -> None:
        """Start with the repository's configuration, and wait until it listens.

        Args:
            server: Takes the place of the service that the configuration names, and is asked far more often.
            folder: Empty; for its configuration and data.
            key: What the mounted file of the service's key holds.
        """
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config["global"] |= {"scrape_interval": _SCRAPE_INTERVAL, "evaluation_interval": _SCRAPE_INTERVAL}
        config["rule_files"] = [str(CONFIG.parent / name) for name in config["rule_files"]]
        host, port = server.address
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"{host}:{port}"]
        key_file = folder / config["scrape_configs"][0]["authorization"]["credentials_file"]
        key_file.write_text(key or (CONFIG.parent / key_file.name).read_text())
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        self._process = subprocess.Popen(
            [*command, "--web.listen-address=127.0.0.1:0"], stderr=subprocess.PIPE, text=True
        )
        self._log: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,))
        self._reader.start()
        address = self._wait_for_address()
        if not address:
            self._process.kill()
            self._finish()
            raise AssertionError("Prometheus did not start:\n" + "".join(self._log))
        self.client = httpx.Client(base_url=f"http://{address}/api/v1/", timeout=30, trust_env=False)

    def get(self, path: str, **parameters: str) -> Any:
        """Ask its API; answer the data of an answer that says success."""
        answer = self.client.get(path, params=parameters)
        body = answer.json()
        assert body["status"] == "success", f"{parameters}: {body}"
        return body["data"]

    def query(self, expression: str) -> list[float]:
        """Evaluate an expression now; answer the values of its series, NaN among them."""
        return [float(series["value"][1]) for series in self.get("query", query=expression)["result"]]

    def __enter__(self) -> "Prometheus":
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
                with self._news:
                    self._log.append(line)
                    self._news.notify_all()
        with self._news:
            self._log.append("")
            self._news.notify_all()

    def _wait_for_address(self) -> str | None:
        """Wait for the line that names the port it took, or for the end of its log."""

        def find() -> str | None:
            lines = (re.search(r'"Listening on" address=(\S+)', line) for line in self._log)
            return next((match[1] for match in lines if match), None)

        with self._news:
            self._news.wait_for(lambda: find() or self._log[-1:] == [""], _START_SECONDS)
            return find()
