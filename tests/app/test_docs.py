"""``/docs`` and ``/openapi.json``: complete, and served without help from other hosts."""

import re
from collections.abc import Iterator

import pytest

from app.api.schemas import PredictionAnswer, Problem
from app.errors import AccessRefused, CxrError, InferenceFailed, TooSlow, Unavailable, UploadError
from tests.app.server import Server

UPLOADS = ("/predict", "/explain")


def leaves(error: type[CxrError]) -> Iterator[str]:
    for kind in error.__subclasses__():
        yield from leaves(kind)
    if not error.__subclasses__():
        yield error.code


@pytest.fixture(scope="module")
def description(server: Server) -> dict:
    return server.client.get("/openapi.json").json()


def test_docs_load_nothing_from_another_host(server: Server) -> None:
    page = server.client.get("/docs").text
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)["']|url: ["']([^"']+)["']""", page)
    assert len(addresses) >= 4
    for address in map("".join, addresses):
        assert re.match(r"/(?!/)", address), f"{address} is not an address of this host"
        assert server.client.get(address).status_code == 200


def test_description_says_that_it_is_no_diagnosis(description: dict) -> None:
    assert "never a diagnosis" in description["info"]["description"]


@pytest.mark.parametrize("path", UPLOADS)
def test_every_error_has_an_example(description: dict, path: str) -> None:
    answers = description["paths"][path]["post"]["responses"]
    documented = set()
    for status, answer in answers.items():
        if status == "200":
            continue
        assert list(answer["content"]) == ["application/problem+json"]
        content = answer["content"]["application/problem+json"]
        assert set(content["schema"]["properties"]) == set(Problem.model_fields)
        for code, example in content["examples"].items():
            problem = Problem.model_validate(example["value"])
            assert (problem.code, problem.status) == (code, int(status))
            documented.add(code)
    kinds = (AccessRefused, UploadError, Unavailable, TooSlow)
    raised = {code for kind in kinds for code in leaves(kind)}
    assert documented == raised | {InferenceFailed.code, "malformed_request"}


@pytest.mark.parametrize("path", UPLOADS)
def test_upload_is_described_as_form_and_as_body(description: dict, path: str) -> None:
    body = description["paths"][path]["post"]["requestBody"]
    assert body["required"]
    form = body["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert form["properties"]["file"] == {"type": "string", "format": "binary", "minLength": 1}
    assert body["content"]["application/octet-stream"]["schema"]["format"] == "binary"


def test_example_of_an_answer_is_one(description: dict) -> None:
    schema = description["components"]["schemas"]["PredictionAnswer"]
    example = PredictionAnswer.model_validate(schema["example"])
    assert sum(example.probabilities.values()) == pytest.approx(1)
    assert {*schema["example"], "heatmap", "preview"} == set(PredictionAnswer.model_fields)  # FastAPI leaves a null out


def test_explain_is_described_as_png(description: dict) -> None:
    assert "image/png" in description["paths"]["/explain"]["post"]["responses"]["200"]["content"]
