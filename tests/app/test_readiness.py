"""The service over its life, in this process and with made-up engines: loading, overloaded, failing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.engines import Engine
from app.errors import ArtifactError, InferenceFailed
from tests.app.answers import check
from tests.app.fakes import FakeEngine
from tests.app.gates import WAIT_SECONDS, Gate
from tests.app.in_process import BlockingEngine, Serve, StumblingEngine
from tests.images import encode, radiograph

IMAGE = encode(radiograph(), "PNG")


def test_lives_before_it_is_ready(serve: Serve) -> None:
    gate = Gate()

    def load() -> Engine:
        gate.wait()
        return FakeEngine()

    with serve(load, wait=False) as service:
        assert gate.reached.wait(WAIT_SECONDS)
        assert service.get("/livez").json() == {"status": "alive"}
        assert "cxr_ready 0.0" in service.get("/metrics").text
        for answer in (service.get("/readyz"), service.post("/predict", content=IMAGE), service.get("/model")):
            check(answer, 503, "not_ready", ("loaded", "again"))
            assert int(answer.headers["Retry-After"]) >= 1
        gate.opened.set()
        assert service.ended.wait(WAIT_SECONDS)
        assert service.get("/readyz").json() == {"status": "ready"}
        assert service.post("/predict", content=IMAGE).status_code == 200
        assert "cxr_ready 1.0" in service.get("/metrics").text


@pytest.mark.parametrize("error", [ArtifactError("damaged"), ZeroDivisionError("unforeseen")])
def test_failed_load_is_told_and_never_ready(serve: Serve, error: Exception) -> None:
    def load() -> Engine:
        raise error

    with serve(load) as service:
        assert service.failures == [error]
        assert service.get("/readyz").status_code == 503


def test_more_uploads_than_admitted_are_refused(serve: Serve) -> None:
    engine = BlockingEngine()
    with serve(lambda: engine, max_queue=1) as service, ThreadPoolExecutor() as callers:
        first = callers.submit(service.post, "/predict", content=IMAGE)
        assert engine.gate.reached.wait(WAIT_SECONDS)
        second = service.post("/predict", content=IMAGE)
        check(second, 503, "overloaded", ("1 requests", "again"))
        assert int(second.headers["Retry-After"]) >= 1
        assert service.get("/readyz").status_code == 200
        engine.gate.opened.set()
        assert first.result().status_code == 200
        assert service.post("/predict", content=IMAGE).status_code == 200


def test_failed_inference_is_a_fault_of_ours_and_the_next_request_is_served(serve: Serve) -> None:
    with serve(lambda: StumblingEngine(InferenceFailed("secret"))) as service:
        failed = service.post("/predict", content=IMAGE)
        check(failed, 500, "inference_failed", ("log", "request id"))
        assert "secret" not in failed.text
        assert service.post("/predict", content=IMAGE).status_code == 200
        assert 'cxr_rejected_total{code="inference_failed"} 1.0' in service.get("/metrics").text


def test_unexpected_exception_is_a_problem_too(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with serve(lambda: StumblingEngine(ZeroDivisionError("secret"))) as service:
        failed = service.post("/predict", content=IMAGE)
        check(failed, 500, "inference_failed", ("log", "request id"))
        assert "secret" not in failed.text
        assert service.post("/predict", content=IMAGE).status_code == 200
        assert "cxr_engine_failures_total 1.0" in service.get("/metrics").text
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.fields["request_id"] == failed.json()["request_id"]
    assert isinstance(record.exc_info[1].__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("level", "label"), [(100, "non-COVID"), (127, "non-COVID"), (128, "COVID-19"), (250, "COVID-19")]
)
def test_label_is_covid_from_the_threshold_on(serve: Serve, level: int, label: str) -> None:
    image = encode(np.full((224, 224), level, np.uint8), "PNG")
    with serve(FakeEngine) as service:
        answer = service.post("/predict", content=image).json()
    assert answer["probabilities"]["COVID-19"] == pytest.approx(level / 255)
    assert answer["label"] == label


def test_heatmap_has_the_rows_of_the_image(serve: Serve) -> None:
    image = np.zeros((224, 224), np.uint8)
    image[:112] = 255
    with serve(FakeEngine) as service:
        heatmap = service.post("/predict?explain=1", content=encode(image, "PNG")).json()["heatmap"]
    assert heatmap[0] == [1.0] * 7
    assert heatmap[-1] == [0.0] * 7
