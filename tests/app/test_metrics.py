"""``GET /metrics``: what is counted, and that no caller can make the labels grow."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.artifact import Artifact
from tests.app.server import Server
from tests.images import encode, radiograph

IMAGE = encode(radiograph(), "WEBP")


def label_values(server: Server) -> dict[str, set[str]]:
    values: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(server.client.get("/metrics").text):
        for sample in family.samples:
            for name, value in sample.labels.items():
                values.setdefault(name, set()).add(value)
    return values


def test_is_prometheus_text(server: Server) -> None:
    answer = server.client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert families >= {
        "cxr_http_requests", "cxr_predictions", "cxr_rejected", "cxr_stage_seconds", "cxr_requests_in_progress",
        "cxr_ready", "cxr_model_info", "process_resident_memory_bytes",
    }  # fmt: skip


def test_prediction_is_counted_with_its_stages(server: Server) -> None:
    stages = ("read", "decode", "wait", "infer", "encode")

    def counts() -> list[float]:
        return [
            server.metric("cxr_predictions_total", format="WEBP"),
            server.metric("cxr_http_requests_total", route="/predict", method="POST", status="200"),
            *(server.metric("cxr_stage_seconds_count", stage=stage) for stage in stages),
        ]

    before = counts()
    label = server.client.post("/predict", content=IMAGE).json()["label"]
    assert counts() == [count + 1 for count in before]
    assert server.metric("cxr_predictions_total", format="WEBP", label=label) >= 1
    assert server.metric("cxr_requests_in_progress") == 0


@pytest.mark.parametrize(("body", "code"), [(b"", "empty_body"), (b"text", "unsupported_format")])
def test_refusal_is_counted_by_code(server: Server, body: bytes, code: str) -> None:
    before = server.metric("cxr_rejected_total", code=code)
    server.client.post("/predict", content=body)
    assert server.metric("cxr_rejected_total", code=code) == before + 1


def test_ready_service_names_its_model(server: Server, shipped: Artifact) -> None:
    metadata = shipped.metadata
    assert server.metric("cxr_ready") == 1
    assert server.metric(
        "cxr_model_info", name=metadata.name, version=str(metadata.version), digest=shipped.digest, engine="openvino"
    ) == pytest.approx(1)


def test_labels_do_not_grow_with_what_callers_send(server: Server) -> None:
    for path in ("/patients/90042", "/patients/90043", "/static-offline-docs/90044", "/predict/90045?name=90046"):
        server.client.get(path)
    server.client.request("PROPFIND", "/predict")
    server.client.post("/predict", content=IMAGE, params={"explain": "90047"}, headers={"Content-Type": "image/90048"})
    values = label_values(server)
    assert values["route"] <= {
        "/", "/web/{name}", "/predict", "/explain", "/model", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json",
        "other",
    }  # fmt: skip
    assert not any(
        str(number) in value
        for number in range(90042, 90049)
        for name in values
        if name not in ("le", "digest", "version")
        for value in values[name]
    )


def test_methods_that_http_does_not_define_are_refused(server: Server) -> None:
    answer: httpx.Response = server.client.request("PATIENT42", "/predict")
    assert answer.status_code == 400
    assert "PATIENT42" not in label_values(server)["method"]
