"""Prometheus' configuration and alerts: accepted, fired by the faults they name, evaluated against the real service."""

import re
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.errors import CxrError
from app.keys import make_key
from tests.app.gates import wait_until
from tests.app.server import Server
from tests.deploy.prometheus import CONFIG, Prometheus, needs_prometheus
from tests.images import encode, radiograph

RULES: Final = [
    rule
    for group in yaml.safe_load((CONFIG.parent / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
UNIT_TESTS: Final = Path(__file__).with_name("alerts_test.yml")
_EVALUATION_SECONDS: Final = 60


def promtool(*arguments: str | Path) -> None:
    result = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def codes(error: type[CxrError]) -> set[str]:
    return {error.code}.union(*(codes(kind) for kind in error.__subclasses__()))


@needs_prometheus
def test_configuration_and_rules_are_accepted() -> None:
    promtool("check", "config", CONFIG)
    promtool("check", "rules", "--lint-fatal", CONFIG.parent / "alerts.yml")


@needs_prometheus
def test_each_alert_fires_on_its_fault_and_not_on_a_busy_service() -> None:
    promtool("test", "rules", UNIT_TESTS)


def test_each_alert_has_a_case_in_which_it_fires() -> None:
    cases = [
        case for test in yaml.safe_load(UNIT_TESTS.read_text("utf-8"))["tests"] for case in test["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == {rule["alert"] for rule in RULES}


@needs_prometheus
def test_rules_are_evaluated_against_the_real_service(server: Server, tmp_path: Path) -> None:
    with Prometheus(server, tmp_path) as prometheus:
        deadline = time.monotonic() + _EVALUATION_SECONDS
        health = {"unknown"}
        while "unknown" in health and time.monotonic() < deadline:
            time.sleep(0.2)
            rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
            health = {rule["health"] for rule in rules}
        assert [rule["name"] for rule in rules] == [rule["alert"] for rule in RULES]
        assert health == {"ok"}, rules


@needs_prometheus
def test_prometheus_reads_the_metrics_of_a_service_that_asks_for_a_key(tmp_path: Path, cache_dir: Path) -> None:
    key, line = make_key("prometheus")
    (tmp_path / "keys").write_text(f"{line}\n")
    with Server(api_keys_file=tmp_path / "keys", cache_dir=cache_dir) as server:
        for folder, given, up in (("with", f"{key}\n", 1), ("without", "", 0)):
            (tmp_path / folder).mkdir()
            with Prometheus(server, tmp_path / folder, key=given) as prometheus:
                wait_until(lambda prometheus=prometheus: prometheus.query('up{job="cxr"}'))
                assert prometheus.query('up{job="cxr"}') == [up]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rule_names_what_the_service_exposes(rule: dict[str, str], server: Server) -> None:
    server.client.post("/predict", content=encode(radiograph(), "PNG"))
    server.client.post("/predict", content=b"not an image")
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    exposed = {sample.name for family in families for sample in family.samples}
    assert set(re.findall(r"\b(?:cxr|process)_\w+", rule["expr"])) <= exposed
    named = {code for selected in re.findall(r'code=~?"([^"]*)"', rule["expr"]) for code in selected.split("|")}
    assert named <= codes(CxrError)
