"""The soak: its traffic against the service, and that it notices what is broken."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from app.artifact import Artifact
from app.settings import Settings
from benchmarks.harness.servers import start_service
from benchmarks.harness.traffic import Connection, Outcome, make_traffic
from benchmarks.harness.watch import Sample, memory_growth
from benchmarks.soak import Callers, Record, Watched, judge, soak
from tests.app.server import Server

STEADY = [Sample(300 + 150 * n, 400 + 2 * (n % 2), 200, 27, 16, 4) for n in range(11)]


def broken(rested: list[Sample] = STEADY, record: Record | None = None) -> list[str]:
    return judge(Watched(STEADY, rested), record or Record(0.002), [])


def test_a_service_that_holds_still_keeps_all_promises() -> None:
    assert broken() == []
    shrinking = [replace(sample, memory_mb=600 - n, descriptors=30 - n) for n, sample in enumerate(STEADY)]
    assert broken(shrinking) == []


def test_memory_that_grows_is_noticed() -> None:
    growing = [replace(sample, memory_mb=400 + 2 * n) for n, sample in enumerate(STEADY)]
    growth = memory_growth(growing)
    assert growth.of_line == pytest.approx(0.05, abs=0.001)
    assert growth.of_medians == pytest.approx(0.045, abs=0.001)
    assert [words.split(",")[0] for words in broken(growing)] == [
        "memory at rest grew by 5.0% by the line",
        "memory at rest grew by 4.5% by the medians",
    ]


@pytest.mark.parametrize("name", ["descriptors", "threads", "processes"])
def test_what_is_left_at_rest_is_noticed(name: str) -> None:
    [words] = broken([*STEADY[:-1], replace(STEADY[-1], **{name: getattr(STEADY[-1], name) + 1})])
    assert words.startswith(f"{name} grew at rest")


@pytest.mark.parametrize(
    "second",
    [
        Outcome(200, probability=0.503),
        Outcome(200, probability=float("nan")),
        Outcome(200, kind="image/png"),
        Outcome(422, code="corrupt_image"),
        Outcome(503, code="overloaded"),
    ],
)
def test_another_answer_than_the_first_is_noticed(second: Outcome) -> None:
    record = Record(0.002)
    for probability in (0.5, 0.501, 0.499):
        record.note("JPEG", Outcome(200, probability=probability))
    assert broken(record=record) == []
    record.note("JPEG", second)
    [words] = broken(record=record)
    assert words.startswith("1 answers were not what they should be")


def test_a_server_error_is_noticed_even_at_first() -> None:
    record = Record(0.002)
    record.note("JPEG", Outcome(500, code="internal_error"))
    record.note_failure("PNG", ConnectionResetError("gone"))
    [words] = broken(record=record)
    assert "internal_error" in words
    assert "ConnectionResetError" in words


def test_errors_in_the_log_are_noticed() -> None:
    assert judge(Watched(STEADY, STEADY), Record(0.002), ["Traceback"]) == ["1 errors in the log: ['Traceback']"]


def test_all_requests_are_answered_for_what_they_are(server: Server) -> None:
    record, connection = Record(0.002), Connection(server.url)
    traffic = make_traffic(Settings().max_upload_bytes)
    for close in (False, True):
        for request in traffic:
            record.note(request.name, request.send(connection, close))
    connection.close()
    assert record.broken == []
    answered = [name for name, outcome in record.first.items() if outcome.status == 200]
    assert len([name for name in answered if name.startswith("DICOM") and "," not in name]) == 10
    refused = {outcome.code for outcome in record.first.values()}
    assert refused >= {
        *("corrupt_image", "too_many_pixels", "body_too_large", "unsupported_modality", "multiple_frames"),
        *("unsupported_format", "empty_body", "malformed_multipart", "missing_file", "too_many_files"),
        *("malformed_request", "not_found", "method_not_allowed"),
    }
    assert record.first["DICOM that inflates to 200 MB"].code == "body_too_large"
    assert sum(outcome.status == 0 for outcome in record.first.values()) == 4


def test_a_short_soak(tmp_path: Path, shipped: Artifact) -> None:
    options = argparse.Namespace(minutes=0.2, warm_up=5, every=1, rests=1)
    record, traffic = Record(0.002), make_traffic(Settings().max_upload_bytes)
    with start_service(shipped.path, tmp_path / "log") as server:
        callers = Callers(server.url, traffic, record, 4)
        try:
            watched = soak(server, callers, record, options)
        finally:
            callers.end()
    assert record.broken == []
    assert record.total > 10
    assert watched.loaded
    assert len(watched.rested) == 2
    assert watched.rested[-1].memory_mb > watched.rested[-1].first_mb > 100
