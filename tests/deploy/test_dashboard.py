"""The Grafana dashboard: readable as it stands, and every query answered by Prometheus from the real service."""

import json
import math
import re
import time
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.settings import Settings
from tests.app.server import ROOT, Server
from tests.deploy.prometheus import Prometheus, needs_prometheus
from tests.images import encode, radiograph

DASHBOARD: Final = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES: Final = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
UPLOADS: Final = (
    ("/predict", encode(radiograph(), "PNG")),
    ("/predict", encode(radiograph(), "JPEG")),
    ("/explain", encode(radiograph(), "PNG")),
    ("/predict", b"not an image"),
    ("/predict", encode(radiograph(), "PNG")[:1000]),
)
_ANSWER_SECONDS: Final = 90


def titled(panel: dict[str, Any]) -> str:
    return panel["title"]


def test_can_be_imported_and_updated_in_place() -> None:
    assert DASHBOARD["uid"] == "cxr-covid"
    assert DASHBOARD["id"] is None, "an id belongs to one Grafana's database"
    assert DASHBOARD["schemaVersion"] == 42, "what Grafana 12.4 and 13.2 write"
    names = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource": "datasource", "instance": "query"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_lie_on_the_grid_beside_each_other() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    assert {x for panel in DASHBOARD["panels"] for x, _ in cells(panel)} <= set(range(24))
    for one, other in combinations(DASHBOARD["panels"], 2):
        assert not cells(one) & cells(other), f"{one['title']} and {other['title']} overlap"


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert len(panel["description"].split()) > 8
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["type"] == "table" or "unit" in (panel["options"]["yAxis"] if panel["type"] == "heatmap" else defaults)
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [source] * (
        1 + len(panel["targets"])
    )
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_query_asks_for_the_chosen_instances_only(query: str) -> None:
    selectors = re.findall(r"\b(?:cxr|process)_\w+(\{[^}]*\})?|\bup(\{[^}]*\})?", query)
    assert selectors
    assert all('instance=~"$instance"' in first + second for first, second in selectors)


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(server, tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def answers(server: Server, prometheus: Prometheus) -> dict[str, list[float]]:
    """What Prometheus answers to each query, while uploads go on: a rate needs two scrapes with a rise between."""
    instance = re.escape("{}:{}".format(*server.address))
    quoted = instance.replace("\\", "\\\\")
    queries = {
        title: query.replace("$instance", quoted).replace("$__rate_interval", "1m") for title, query in QUERIES.items()
    }
    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        for path, body in UPLOADS:
            server.client.post(path, content=body)
        answers = {title: prometheus.query(query) for title, query in queries.items()}
        if all(map(answered, answers.values())) or time.monotonic() > deadline:
            return answers
        time.sleep(0.5)


def answered(values: list[float]) -> bool:
    return any(map(math.isfinite, values))


@needs_prometheus
@pytest.mark.parametrize("title", QUERIES)
def test_query_is_answered_by_the_real_service(title: str, answers: dict[str, list[float]]) -> None:
    # None may be empty: engine failures, too, are counted from zero.
    assert answered(answers[title]), f"{QUERIES[title]} -> {answers[title]}"


@needs_prometheus
def test_state_of_a_ready_service(answers: dict[str, list[float]]) -> None:
    assert answers["Ready A"] == [1]
    assert answers["Served model A"] == [1]
    assert set(answers["Engine failures A"]) == {0}
    assert answers["Requests in progress C"] == [Settings.model_fields["max_queue"].default]


@needs_prometheus
def test_every_stage_of_an_upload_is_there(prometheus: Prometheus, answers: object) -> None:
    assert prometheus.get("label/stage/values") == ["decode", "encode", "infer", "read", "wait"]


@needs_prometheus
def test_variable_lists_the_service(server: Server, prometheus: Prometheus, answers: object) -> None:
    variable = next(v for v in DASHBOARD["templating"]["list"] if v["name"] == "instance")
    match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
    assert match
    instances = prometheus.get(f"label/{match[2]}/values", **{"match[]": match[1]})
    assert instances == ["{}:{}".format(*server.address)]


def test_names_only_what_the_service_exposes(server: Server) -> None:
    for path, body in UPLOADS:
        server.client.post(path, content=body)
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    exposed = {sample.name for family in families for sample in family.samples}
    named = {name for query in QUERIES.values() for name in re.findall(r"\b(?:cxr|process)_\w+", query)}
    assert named <= exposed
