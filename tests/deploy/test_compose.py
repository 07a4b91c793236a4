"""The compose file's monitoring: optional, shut in, and in agreement with the files that it mounts."""

import re
from typing import Any, Final

import pytest
import yaml

from tests.app.server import ROOT

COMPOSE: Final = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
MONITORING: Final = ("prometheus", "grafana")
GRAFANA: Final = ROOT / "deploy" / "grafana"


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def mounts(service: str) -> dict[str, tuple[str, str]]:
    """Source and options of a service's volumes by their target."""
    parts = [volume.rsplit(":", 2 if volume.endswith(":ro") else 1) for volume in SERVICES[service]["volumes"]]
    return {target: (source, *options)[:2] if options else (source, "") for source, target, *options in parts}


def test_only_the_profile_starts_more_than_the_service() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"cxr"}
    assert all(SERVICES[name]["profiles"] == ["monitoring"] for name in MONITORING)


@pytest.mark.parametrize("name", MONITORING)
def test_watcher_is_pinned_and_shut_in(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert "privileged" not in service
    assert "user" not in service, "the images' own users are not root"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    assert all(re.fullmatch(r"\$\{CXR_\w*PUBLISH:-127\.0\.0\.1:\d+\}:\d+", port) for port in SERVICES[name]["ports"])


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
