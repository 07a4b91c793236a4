"""Who may ask: with keys whoever has one, without keys no page of another site. What browsers must not do."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.client import CxrClient, Unauthorized
from app.keys import make_key
from tests.app.answers import check
from tests.app.fakes import FakeEngine
from tests.app.gates import Gate, wait_until
from tests.app.in_process import Serve
from tests.app.server import Server
from tests.images import encode, radiograph

PNG: Final = encode(radiograph(), "PNG")
GUARDED: Final = (("POST", "/predict"), ("POST", "/explain"), ("GET", "/model"), ("GET", "/metrics"))
OPEN: Final = ("/livez", "/readyz", "/", "/web/page.js", "/docs", "/openapi.json")


class Keyed:
    """A service with two keys.

    Attributes:
        path: Its keys file.
        keys: By name.
        headers: What the key `radiology` is sent in.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self.path, self.keys = folder / "keys", dict[str, str]()
        for name in ("radiology", "prometheus"):
            self.add(name)
        self.headers = self.header("radiology")
        self.server = Server(api_keys_file=self.path, **settings)

    def add(self, name: str) -> None:
        key, line = make_key(name)
        self.keys[name] = key
        with self.path.open("a") as file:
            file.write(f"{line}\n")

    def header(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[name]}"}

    def status(self, key: str) -> int:
        return self.server.client.get("/model", headers={"Authorization": f"Bearer {key}"}).status_code


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Keyed]:
    keyed = Keyed(tmp_path_factory.mktemp("keys"), cache_dir=cache_dir)
    with keyed.server:
        yield keyed


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_guarded_address_asks_for_a_key(keyed: Keyed, method: str, path: str) -> None:
    content = PNG if method == "POST" else None
    client = keyed.server.client
    for name in ("radiology", "prometheus"):
        assert client.request(method, path, content=content, headers=keyed.header(name)).status_code == 200
    answer = client.request(method, path, content=content)
    check(answer, 401, "unauthorized", ("received none", "Authorization: Bearer KEY"))
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", OPEN)
def test_open_address_asks_for_none(keyed: Keyed, path: str) -> None:
    assert keyed.server.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer wrong", "Basic {key}", "{key}", "Bearer {name}", "Bearer {digest}", "Bearer {key}x",
     "Bearer " + "x" * 10_000],
)  # fmt: skip
def test_anything_else_is_no_key(keyed: Keyed, header: str) -> None:
    name, digest = keyed.path.read_text().split()[:2]
    sent = header.format(key=keyed.keys["radiology"], name=name, digest=digest)
    answer = keyed.server.client.get("/model", headers={"Authorization": sent})
    check(answer, 401, "unauthorized")
    assert not [part for part in sent.split()[1:] if part in answer.text.replace("Bearer KEY", "")]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_is_taken_in_any_case(keyed: Keyed, scheme: str) -> None:
    """Source: RFC 9110, 11.1."""
    headers = {"Authorization": f"{scheme} {keyed.keys['radiology']}"}
    assert keyed.server.client.get("/model", headers=headers).status_code == 200


def test_key_is_no_parameter_and_no_cookie(keyed: Keyed) -> None:
    key = keyed.keys["radiology"]
    answers = [
        keyed.server.client.get("/model", params={"key": key, "api_key": key, "access_token": key}),
        keyed.server.client.get("/model", headers={"Cookie": f"Authorization=Bearer {key}", "X-API-Key": key}),
    ]
    assert [answer.status_code for answer in answers] == [401, 401]


def test_stranger_is_answered_before_the_body_comes(keyed: Keyed) -> None:
    with socket.create_connection(keyed.server.address, timeout=30) as stranger:
        stranger.sendall(b"POST /predict HTTP/1.1\r\nHost: cxr\r\nContent-Length: 60000000\r\n\r\n")
        assert stranger.recv(100).startswith(b"HTTP/1.1 401 ")


def test_client_raises_unauthorized(keyed: Keyed) -> None:
    with CxrClient(keyed.server.url) as stranger, pytest.raises(Unauthorized, match="received none"):
        stranger.predict(PNG)
    with CxrClient(keyed.server.url, api_key=keyed.keys["radiology"]) as client:
        assert client.predict(PNG).label


def test_name_and_never_the_key_is_in_log_and_metrics(tmp_path: Path, cache_dir: Path) -> None:
    keyed = Keyed(tmp_path, cache_dir=cache_dir, log_level="DEBUG")
    with keyed.server as server:
        client = server.client
        answer = client.post("/predict", content=PNG, headers=keyed.headers)
        refusal = client.post("/predict", content=b"text", headers=keyed.headers)
        stranger = client.post("/predict", content=PNG, headers={"Authorization": "Bearer cxr_of-nobody"})
        exposition = client.get("/metrics", headers=keyed.header("prometheus")).text
    lines = {line["request_id"]: line for line in keyed.server.log() if line["message"] == "request"}
    assert lines[answer.headers["X-Request-ID"]]["key"] == "radiology"
    assert lines[refusal.headers["X-Request-ID"]]["key"] == "radiology"
    assert "key" not in lines[stranger.headers["X-Request-ID"]]
    assert 'cxr_key_requests_total{key="radiology",status="200"} 1.0' in exposition
    assert 'cxr_key_requests_total{key="radiology",status="415"} 1.0' in exposition
    assert 'cxr_rejected_total{code="unauthorized"} 1.0' in exposition
    said = "".join(keyed.server.stdout + keyed.server.stderr) + exposition
    assert not [key for key in (*keyed.keys.values(), "cxr_of-nobody") if key in said]
    assert "Authorization: Bearer $CXR_API_KEY" in said


def test_running_service_takes_up_a_new_key_and_drops_a_withdrawn_one(keyed: Keyed) -> None:
    keyed.add("new")
    wait_until(lambda: keyed.status(keyed.keys["new"]) == 200)
    kept = [line for line in keyed.path.read_text().splitlines(keepends=True) if not line.startswith("new ")]
    keyed.path.write_text("".join(kept))
    wait_until(lambda: keyed.status(keyed.keys["new"]) == 401)
    assert keyed.status(keyed.keys["radiology"]) == 200


def test_running_service_keeps_its_keys_over_a_broken_file(tmp_path: Path, cache_dir: Path) -> None:
    keyed = Keyed(tmp_path, cache_dir=cache_dir)
    with keyed.server as server:
        keyed.path.write_text("cxr_secret\n")

        def is_reported() -> bool:
            assert keyed.status(keyed.keys["radiology"]) == 200
            return any("keys that were read before hold" in line["message"] for line in server.log())

        wait_until(is_reported)
    assert "cxr_secret" not in "".join(server.stderr)


# ----------------------------------------------------- before anything else ----


def keys_file(folder: Path) -> tuple[Path, dict[str, str]]:
    key, line = make_key("radiology")
    (folder / "keys").write_text(f"{line}\n")
    return folder / "keys", {"Authorization": f"Bearer {key}"}


def test_stranger_is_told_so_while_the_service_is_not_ready(serve: Serve, tmp_path: Path) -> None:
    path, headers = keys_file(tmp_path)
    gate = Gate()

    def load() -> FakeEngine:
        gate.wait()
        return FakeEngine()

    with serve(load, wait=False, api_keys_file=path) as service:
        check(service.post("/predict", content=PNG), 401, "unauthorized")
        check(service.get("/model"), 401, "unauthorized")
        check(service.post("/predict", content=PNG, headers=headers), 503, "not_ready")
        gate.opened.set()


def test_key_over_its_rate_is_told_when_to_come_again(serve: Serve, tmp_path: Path) -> None:
    path, headers = keys_file(tmp_path)
    with serve(FakeEngine, api_keys_file=path, max_uploads_per_minute=2) as service:
        statuses = [service.post("/predict", content=PNG, headers=headers).status_code for _ in range(2)]
        assert statuses == [200, 200]
        answer = service.post("/explain", content=PNG, headers=headers)
        check(answer, 429, "rate_limited", ("'radiology'", "Try again in"))
        assert 1 <= int(answer.headers["Retry-After"]) <= 30
        check(service.post("/predict", content=PNG), 401, "unauthorized")  # A stranger spends nobody's.
        assert service.get("/model", headers=headers).status_code == 200
        assert service.get("/readyz").status_code == 200


@pytest.mark.parametrize("settings", [{}, {"max_uploads_per_minute": 1}])
def test_without_keys_or_a_limit_nothing_is_limited(serve: Serve, settings: dict[str, Any]) -> None:
    with serve(FakeEngine, **settings) as service:
        assert {service.post("/predict", content=PNG).status_code for _ in range(5)} == {200}


@pytest.mark.parametrize(
    ("setting", "keyed", "stranger", "holder"),
    [
        ("key", True, 401, 200), ("open", True, 200, 200), ("closed", True, 404, 404),
        ("key", False, 200, 200), ("open", False, 200, 200), ("closed", False, 404, 404),
    ],
)  # fmt: skip
def test_metrics_can_be_closed(
    serve: Serve, tmp_path: Path, setting: str, keyed: bool, stranger: int, holder: int
) -> None:
    path, headers = keys_file(tmp_path)
    with serve(FakeEngine, metrics=setting, api_keys_file=path if keyed else None) as service:
        assert service.get("/metrics").status_code == stranger
        assert service.get("/metrics", headers=headers).status_code == holder


def test_docs_can_be_closed(serve: Serve) -> None:
    with serve(FakeEngine, docs="closed") as service:
        for path in ("/docs", "/openapi.json", "/redoc", "/docs/oauth2-redirect", "/static-offline-docs/favicon.png"):
            check(service.get(path), 404, "not_found")
        assert service.post("/predict", content=PNG).status_code == 200


def test_description_says_where_a_key_belongs(keyed: Keyed, server: Server) -> None:
    """Swagger UI shows its button Authorize by this."""
    description = keyed.server.client.get("/openapi.json").json()
    assert description["components"]["securitySchemes"]["API key"] | {"description": ""} == {
        "type": "http", "scheme": "bearer", "description": "",
    }  # fmt: skip
    for path, methods in description["paths"].items():
        (operation,) = methods.values()
        assert ("security" in operation) == (path in dict(map(reversed, GUARDED))), path
    open_description = server.client.get("/openapi.json").json()
    assert "securitySchemes" not in open_description["components"]


# -------------------------------------------------------- browsers, no keys ----


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_page_of_another_site_cannot_make_the_service_work(server: Server, site: str, path: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Origin": "http://elsewhere.example"}
    check(server.client.post(path, content=PNG, headers=headers), 403, "cross_site", ("another site",))


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_own_page_can(server: Server, site: str) -> None:
    assert server.client.post("/predict", content=PNG, headers={"Sec-Fetch-Site": site}).status_code == 200


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:8000", "127.0.0.1.rebound.example.", "x.local:1"])
@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_name_that_leads_here_by_rebinding_is_not_answered(server: Server, host: str, method: str, path: str) -> None:
    answer = server.client.request(method, path, headers={"Host": host})
    check(answer, 421, "unknown_host", ("CXR_ALLOWED_HOSTS",))
    assert "rebound" not in answer.text


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:8000", "cxr:8000", "10.1.2.3:80", "xray.localhost", ""]
)
def test_address_and_name_without_a_dot_are_the_services(server: Server, host: str) -> None:
    assert server.client.get("/model", headers={"Host": host}).status_code == 200


def test_listed_name_is_the_services(serve: Serve) -> None:
    with serve(FakeEngine, allowed_hosts="XRAY.hospital.example, other.example") as service:
        for host in ("xray.hospital.example", "Xray.Hospital.Example.:443", "other.example"):
            assert service.get("/model", headers={"Host": host}).status_code == 200
        check(service.get("/model", headers={"Host": "hospital.example"}), 421, "unknown_host")


def test_with_keys_any_name_and_site_will_do(keyed: Keyed) -> None:
    headers = {**keyed.headers, "Host": "xray.hospital.example", "Sec-Fetch-Site": "cross-site"}
    assert keyed.server.client.post("/predict", content=PNG, headers=headers).status_code == 200


# ----------------------------------------------------------------- headers ----


def answers(client: httpx.Client) -> Iterator[httpx.Response]:
    yield from (client.get(path) for path in (*OPEN, "/model", "/metrics", "/nowhere", "/predict"))
    yield from (client.post("/predict", content=data) for data in (PNG, b"", b"text"))
    yield client.post("/explain", content=PNG)
    yield client.get("/static-offline-docs/swagger-ui.css")
    yield client.get("/", headers={"If-None-Match": client.get("/").headers["ETag"]})


def test_every_answer_has_the_security_headers(server: Server) -> None:
    seen = set()
    for answer in answers(server.client):
        seen.add(answer.status_code)
        headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == ("no-cache" if "ETag" in headers else "no-store")
        assert "Server" not in headers
        for name in ("Content-Security-Policy", "Cache-Control", "Referrer-Policy"):
            assert len(headers.get_list(name)) == 1
    assert seen == {200, 304, 400, 404, 405, 415}


def test_no_other_site_is_let_in(server: Server) -> None:
    """No CORS: neither the question before a request nor its answer names a site."""
    origin = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"}
    asked = server.client.options("/predict", headers=origin)
    given = server.client.get("/readyz", headers=origin)
    assert asked.status_code == 405
    for answer in (asked, given):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_what_a_proxy_says_changes_nothing(server: Server) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "elsewhere.example", "X-Forwarded-For": "192.0.2.1"}
    assert server.client.get("/model", headers=headers).status_code == 200
    check(server.client.get("/model/", headers=headers), 404, "not_found")  # No redirect that would name a host.
