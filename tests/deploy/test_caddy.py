"""Caddy's configuration before the real service: TLS, keys, uploads of every size, and what its log holds."""

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from app.client import CxrClient, Refused, Unauthorized
from app.keys import make_key
from app.settings import Settings
from tests.app.answers import check
from tests.app.gates import wait_until
from tests.app.server import Server
from tests.deploy.caddy import CADDYFILE, Caddy, needs_caddy
from tests.images import encode, radiograph

pytestmark = needs_caddy

PNG: Final = encode(radiograph(), "PNG")
LIMIT: Final = 300_000


class Site:
    """A service with a key, and Caddy before it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        key, line = make_key("radiology")
        (folder / "keys").write_text(f"{line}\n")
        self.key, self.headers = key, {"Authorization": f"Bearer {key}"}
        self.service = Server(api_keys_file=folder / "keys", max_upload_bytes=LIMIT, **settings)
        try:
            self.caddy = Caddy(self.service, folder)
        except BaseException:
            self.service.stop()
            raise


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), cache_dir=cache_dir)
    with site.service, site.caddy:
        yield site


def adapted() -> dict:
    command = ["caddy", "adapt", "--config", CADDYFILE, "--adapter", "caddyfile"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_slow_senders_are_ended_by_the_service_first_and_then_by_caddy() -> None:
    (server,) = adapted()["apps"]["http"]["servers"].values()
    assert 0 < server["read_header_timeout"] <= 10e9
    milliseconds = Settings.model_fields["request_timeout_ms"].default
    assert 1 < server["read_timeout"] / (milliseconds * 1e6) < 1.5


def test_nothing_can_be_changed_at_run_time_and_nothing_is_plain() -> None:
    configuration = adapted()
    (server,) = configuration["apps"]["http"]["servers"].values()
    assert configuration["admin"]["disabled"]
    assert server["listen"] == [":8443"]
    assert server["automatic_https"]["disable_redirects"]
    assert "logs" not in server, "no access log"


def test_key_is_asked_for_through_tls(site: Site) -> None:
    client = site.caddy.client
    answer = client.post("/predict", content=PNG, headers=site.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"]
    stranger = client.post("/predict", content=PNG)
    check(stranger, 401, "unauthorized")
    assert stranger.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/readyz").status_code == 200
    assert client.get("/metrics").status_code == 401


def test_authority_is_its_own_and_old_protocols_are_not_spoken(site: Site) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"), httpx.Client(trust_env=False) as other:
        other.get(site.caddy.url)
    trusted = ssl.create_default_context(cafile=site.caddy.authority)
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    with httpx.Client(verify=trusted, trust_env=False) as client:
        assert client.get(f"{site.caddy.url}/livez").status_code == 200


def test_plain_http_is_not_answered_and_leads_nowhere(site: Site) -> None:
    with httpx.Client(trust_env=False) as client:
        answer = client.get(site.caddy.url.replace("https", "http"))
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_python_client_works_with_the_authority_that_the_system_is_told_of(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.caddy.authority))
    with CxrClient(site.caddy.url, api_key=site.key) as client:
        assert client.ready()
        assert client.predict(PNG).label
        with pytest.raises(Refused, match="body_too_large"):
            client.predict(bytes(10 * LIMIT))
    with CxrClient(site.caddy.url) as stranger, pytest.raises(Unauthorized):
        stranger.predict(PNG)


def in_pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 50_000):
        yield bytes(50_000)


@pytest.mark.parametrize("size", [2 * LIMIT, 20 * LIMIT, 80 * LIMIT])
def test_upload_over_the_limit_gets_the_services_own_words(site: Site, size: int) -> None:
    """Whether its length is declared or not; and so does a stranger's. Nothing of it is a 502, which is tried again."""
    client = site.caddy.client
    for body in (lambda: bytes(size), lambda: in_pieces(size)):
        for _ in range(3):
            answer = client.post("/predict", content=body(), headers=site.headers)
            check(answer, 413, "body_too_large", (f"{LIMIT} bytes",))
            check(client.post("/predict", content=body()), 401, "unauthorized")


def test_answers_come_as_the_service_gave_them(site: Site) -> None:
    for path in ("/", "/web/page.js", "/docs", "/readyz", "/nowhere"):
        direct, through = site.service.client.get(path), site.caddy.client.get(path)
        assert (through.status_code, "Server" in through.headers) == (direct.status_code, False)
        same = {"content-security-policy", "cache-control", "referrer-policy", "x-content-type-options", "etag"}
        assert {k: v for k, v in through.headers.items() if k in same} == {
            k: v for k, v in direct.headers.items() if k in same
        }
        if path != "/nowhere":  # It has the request's id in it.
            assert through.content == direct.content
    assert "Strict-Transport-Security" not in site.caddy.client.get("/").headers


def test_connection_that_the_service_would_leave_is_not_used_again(site: Site) -> None:
    (server,) = adapted()["apps"]["http"]["servers"].values()
    assert '"idle_timeout": 2000000000' in json.dumps(server)


def test_log_holds_no_key_query_or_address_of_a_request(tmp_path: Path, cache_dir: Path) -> None:
    site = Site(tmp_path, cache_dir=cache_dir)
    with site.service, site.caddy as caddy:
        answered = caddy.client.post("/predict?patient=zzyzx", content=PNG, headers={**site.headers, "X-Name": "zzyzx"})
        assert answered.status_code == 200
        site.service.stop()
        failed = caddy.client.get("/patients/zzyzx?name=zzyzx", headers={**site.headers, "X-Name": "zzyzx"})
        assert failed.status_code == 502
        wait_until(lambda: any(line["level"] == "error" for line in caddy.log))
    errors = [line for line in caddy.log if line["level"] == "error"]
    assert {line["status"] for line in errors} == {502}
    text = json.dumps(caddy.log)
    assert "zzyzx" not in text
    assert site.key not in text


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing; Debian: apt-get install openssl")
def test_site_may_have_a_certificate_of_its_own(tmp_path: Path, server: Server) -> None:
    certificate, key = tmp_path / "site.crt", tmp_path / "site.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=site", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with Caddy(server, tmp_path, cxr_tls=f"{certificate} {key}") as caddy:
        trusted = ssl.create_default_context(cafile=certificate)
        with httpx.Client(verify=trusted, trust_env=False) as client:
            assert client.get(f"{caddy.url}/livez").status_code == 200
