"""Without keys the service listens where this machine alone can reach it, unless it is told that more is meant."""

import socket
from pathlib import Path

import pytest

from app.errors import SettingError
from app.keys import make_key
from app.listen import check_exposure, find_address
from app.settings import Settings
from tests.app.server import Server, refused

ADVICE = ("python -m app.keys FILE NAME", "CXR_API_KEYS_FILE=FILE", "CXR_HOST=127.0.0.1", "CXR_ALLOW_ANONYMOUS=true")
NAMES = {"inside.example": "127.0.0.9", "outside.example": "192.0.2.7", "mixed.example": "192.0.2.8"}


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some names of machines."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: look_up(NAMES.get(host, host), *rest, **more)
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.10", "localhost", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "inside.example"]
)
def test_loopback_needs_no_keys(host: str) -> None:
    settings = Settings(host=host, port=0)
    check_exposure(settings, find_address(settings))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "0", "10.1.2.3", "::ffff:10.1.2.3", "fe80::1", "outside.example", "mixed.example"]
)
def test_any_other_address_needs_keys_or_the_word(host: str, tmp_path: Path) -> None:
    address = find_address(Settings(host=host, port=0))
    with pytest.raises(SettingError) as refusal:
        check_exposure(Settings(host=host), address)
    assert not [word for word in (host, *ADVICE) if word not in str(refusal.value)]
    check_exposure(Settings(host=host, allow_anonymous=True), address)
    check_exposure(Settings(host=host, api_keys_file=tmp_path), address)


def test_what_is_checked_is_what_is_listened_on() -> None:
    """A name could have another address the second time."""
    address = find_address(Settings(host="inside.example", port=0))
    assert address.address[0] == "127.0.0.9"
    with address.listen() as listener:
        assert listener.getsockname()[0] == "127.0.0.9"


@pytest.mark.parametrize("host", ["0.0.0.0", pytest.param("::", marks=needs_ipv6)])
def test_service_refuses_to_start_open_to_others(host: str) -> None:
    end = refused(host=host)
    assert (end.returncode, end.stdout) == (2, "")
    assert not [word for word in (f"error: CXR_HOST {host}", *ADVICE) if word not in end.stderr]
    assert "Traceback" not in end.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("# none\n", "holds no key"),
        ("cxr_secret\n", "line 1 is not a name and a SHA-256"),
    ],
)
def test_unusable_keys_file_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    """On loopback, too, and whatever else is allowed: who sets the file means it."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    end = refused(api_keys_file=path, allow_anonymous=True)
    assert end.returncode == 2
    assert f"error: CXR_API_KEYS_FILE {path}" in end.stderr
    assert words in end.stderr
    assert "cxr_secret" not in end.stderr


def test_service_with_keys_serves_on_every_address(tmp_path: Path, cache_dir: Path) -> None:
    key, line = make_key("radiology")
    (tmp_path / "keys").write_text(f"{line}\n")
    with Server(host="0.0.0.0", api_keys_file=tmp_path / "keys", cache_dir=cache_dir) as server:
        assert server.client.get("/model").status_code == 401
        assert server.client.get("/model", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_service_that_is_told_serves_everybody(cache_dir: Path) -> None:
    with Server(host="0.0.0.0", allow_anonymous="true", cache_dir=cache_dir) as server:
        assert server.client.get("/model").status_code == 200
        assert server.wait_for_log("whoever reaches 0.0.0.0 may use the service")["level"] == "WARNING"
