"""The compose files: shut in, published on this machine or with keys, in agreement with the files that they mount."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.app.server import ROOT

COMPOSE: Final = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
MONITORING: Final = ("prometheus", "grafana")
GRAFANA: Final = ROOT / "deploy" / "grafana"
KEYS_FILE: Final = ROOT / "deploy" / "compose.keys.yml"
WITH_KEYS: Final[dict[str, Any]] = yaml.safe_load(KEYS_FILE.read_text(encoding="utf-8"))["services"]
SHUT_IN: Final = {**SERVICES, "caddy": WITH_KEYS["caddy"]}
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def mounts(service: str) -> dict[str, tuple[str, str]]:
    """Source and options of a service's volumes by their target."""
    parts = [volume.rsplit(":", 2 if volume.endswith(":ro") else 1) for volume in SERVICES[service]["volumes"]]
    return {target: (source, *options)[:2] if options else (source, "") for source, target, *options in parts}


def test_only_the_profile_starts_more_than_the_service() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"cxr"}
    assert all(SERVICES[name]["profiles"] == ["monitoring"] for name in MONITORING)


@pytest.mark.parametrize("name", SHUT_IN)
def test_container_is_shut_in(name: str) -> None:
    service = SHUT_IN[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    # The one is a file capability of Caddy's image, whose program does not start without.
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "user", "network_mode", "pid", "ipc", "devices"} & set(service), "the images' own users"


@pytest.mark.parametrize("name", [*MONITORING, "caddy"])
def test_image_of_others_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", SHUT_IN[name]["image"])


def test_own_image_runs_as_nobody_who_can_write_it() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\S+)$", final, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert not re.search(r"^(USER|RUN|COPY|ADD) ", final.partition(f"\nUSER {user}")[2], re.MULTILINE)
    assert "--chown" not in final
    assert "setcap" not in DOCKERFILE
    assert "chmod -R u=rwX,go=rX /srv/cxr" in DOCKERFILE


def test_own_image_listens_on_all_its_addresses_and_says_that_it_is_meant() -> None:
    assert "CXR_HOST=0.0.0.0" in DOCKERFILE
    assert "CXR_ALLOW_ANONYMOUS=true" in DOCKERFILE


@pytest.mark.parametrize("name", SERVICES)
def test_without_keys_ports_are_published_on_this_machine_only(name: str) -> None:
    watcher, own = r"\$\{CXR_\w+_PUBLISH:-127\.0\.0\.1:\d+\}:\d+", r"127\.0\.0\.1:\$\{CXR_PUBLISH:-8000\}:8000"
    assert all(re.fullmatch(own if name == "cxr" else watcher, port) for port in SERVICES[name]["ports"])


def test_what_is_published_to_others_asks_for_keys() -> None:
    assert {name for name, service in WITH_KEYS.items() if "ports" in service} == {"caddy"}
    assert WITH_KEYS["caddy"]["profiles"] == ["tls"]
    environment = dict(line.split("=", 1) for line in WITH_KEYS["cxr"]["environment"])
    (volume,) = WITH_KEYS["cxr"]["volumes"]
    source, target = volume.removesuffix(":ro").rsplit(":", 1)
    assert environment == {"CXR_API_KEYS_FILE": f"{target}/api-keys", "CXR_ALLOW_ANONYMOUS": "false"}
    assert source.startswith("${CXR_KEYS:?"), "without the folder nothing starts"


def test_caddy_reads_its_configuration_and_leads_to_the_service() -> None:
    caddy = WITH_KEYS["caddy"]
    assert "./deploy/caddy:/etc/caddy:ro" in caddy["volumes"]
    text = (ROOT / "deploy" / "caddy" / "Caddyfile").read_text(encoding="utf-8")
    assert f"CXR_UPSTREAM:cxr:{SERVICES['cxr']['ports'][0].rsplit(':', 1)[1]}" in text
    assert f"CXR_TLS_PORT:{caddy['ports'][0].rsplit(':', 1)[1]}" in text
    for line in caddy["environment"]:
        assert f"{{${line.partition('=')[0]}:" in text


def test_prometheus_has_the_key_where_its_configuration_looks() -> None:
    (job,) = read("deploy/prometheus/prometheus.yml")["scrape_configs"]
    name = job["authorization"]["credentials_file"]
    (volume,) = WITH_KEYS["prometheus"]["volumes"]
    assert volume.endswith(f"/prometheus.key:/etc/prometheus/{name}:ro")
    assert (ROOT / "deploy" / "prometheus" / name).read_bytes() == b"", "what is mounted over, and no key"


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is missing; Debian has it")
def test_compose_accepts_the_files(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}

    def config(*files: Path, **more: str) -> subprocess.CompletedProcess[str]:
        named = [part for file in files for part in ("-f", str(file))]
        command = ["docker-compose", *named, "--profile", "tls", "--profile", "monitoring", "config"]
        return subprocess.run(command, cwd=ROOT, env=environment | more, capture_output=True, text=True, check=False)

    alone = config(ROOT / "docker-compose.yml")
    assert alone.returncode == 0, alone.stderr
    unnamed = config(ROOT / "docker-compose.yml", KEYS_FILE)
    assert unnamed.returncode != 0
    assert "must name the folder" in unnamed.stderr
    both = config(ROOT / "docker-compose.yml", KEYS_FILE, CXR_KEYS=str(tmp_path))
    assert both.returncode == 0, both.stderr
    services = yaml.safe_load(both.stdout)["services"]
    assert services["cxr"]["environment"]["CXR_ALLOW_ANONYMOUS"] == "false"
    assert f"{tmp_path}:/run/cxr-keys:ro" in services["cxr"]["volumes"]
    assert all(str(port).startswith("127.0.0.1:") for port in services["cxr"]["ports"])
    assert f"{ROOT}/deploy/caddy:/etc/caddy:ro" in services["caddy"]["volumes"]


@pytest.mark.parametrize("name", MONITORING)
def test_mounts_are_data_volumes_or_files_that_exist_read_only(name: str) -> None:
    for source, options in mounts(name).values():
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert options == "ro"
        else:
            assert source in COMPOSE["volumes"]


def test_prometheus_reads_its_configuration_and_scrapes_the_service() -> None:
    prometheus = SERVICES["prometheus"]
    assert mounts("prometheus")["/etc/prometheus"] == ("./deploy/prometheus", "ro")
    assert "--config.file=/etc/prometheus/prometheus.yml" in prometheus["command"]
    assert "--storage.tsdb.path=/prometheus" in prometheus["command"]
    assert "/prometheus" in mounts("prometheus")
    targets = read("deploy/prometheus/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"cxr:{SERVICES['cxr']['ports'][0].rsplit(':', 1)[1]}"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = read("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == f"http://prometheus:{SERVICES['prometheus']['ports'][0].rsplit(':', 1)[1]}"
    assert source["jsonData"]["timeInterval"] == read("deploy/prometheus/prometheus.yml")["global"]["scrape_interval"]
    (provider,) = read("deploy/grafana/provisioning/dashboards/cxr.yml")["providers"]
    dashboard = f"{provider['options']['path']}/dashboard.json"
    assert mounts("grafana")[dashboard] == ("./deploy/grafana/dashboard.json", "ro")
    assert mounts("grafana")["/etc/grafana/provisioning"] == ("./deploy/grafana/provisioning", "ro")
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard
