"""The endpoints."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.api.problems import responses
from app.api.schemas import ModelAnswer, ModelIdentity, PredictionAnswer, State, prediction_answer
from app.api.uploads import FIELD, gone, read_upload
from app.errors import (
    BlankImage,
    BodyTooLarge,
    BodyTooSlow,
    ColourImage,
    CorruptImage,
    CrossSite,
    DeadlinePassed,
    DecoderFailed,
    DecoderUnavailable,
    EmptyBody,
    HeaderTooSlow,
    InferenceFailed,
    InvertedImage,
    MalformedMultipart,
    MissingFile,
    MultipleFrames,
    NoPixelData,
    NotAChestRadiograph,
    NotReady,
    Overloaded,
    RateLimited,
    RequestError,
    RotatedImage,
    Stopping,
    TooManyConnections,
    TooManyFiles,
    TooManyPixels,
    Unauthorized,
    UnknownHost,
    UnsupportedFormat,
    UnsupportedModality,
    UnsupportedPixels,
    UnsupportedTransferSyntax,
    UnsupportedView,
)
from app.overlay import overlay_png, preview_png
from app.service import Answered, Service

router, upload_router, model_router, metrics_router = (APIRouter() for _ in range(4))
"""By who may ask: everybody; others as `app.main` has it."""

_ACCESS_ERRORS: Final = (Unauthorized, CrossSite, UnknownHost)
_UPLOAD_ERRORS: Final = responses(
    *_ACCESS_ERRORS,
    RateLimited,
    RequestError,
    EmptyBody,
    MissingFile,
    TooManyFiles,
    MalformedMultipart,
    BodyTooLarge,
    TooManyPixels,
    UnsupportedFormat,
    UnsupportedTransferSyntax,
    CorruptImage,
    DecoderFailed,
    MultipleFrames,
    NoPixelData,
    UnsupportedPixels,
    UnsupportedModality,
    UnsupportedView,
    BlankImage,
    InvertedImage,
    RotatedImage,
    NotAChestRadiograph,
    ColourImage,
    InferenceFailed,
    NotReady,
    DecoderUnavailable,
    Overloaded,
    Stopping,
    TooManyConnections,
    HeaderTooSlow,
    BodyTooSlow,
    DeadlinePassed,
)

_BINARY: Final = {"type": "string", "format": "binary", "minLength": 1}
_UPLOAD_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "One image: as a file in the field `file`, or the bare bytes.",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _BINARY}},
            },
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}


@upload_router.post(
    "/predict",
    summary="Probabilities for one chest X-ray",
    response_model=PredictionAnswer,
    responses=_UPLOAD_ERRORS,
    openapi_extra=_UPLOAD_BODY,
    tags=["prediction"],
)
async def predict(
    request: Request,
    explain: Annotated[bool, Query(description="Add the heatmap to the answer.")] = False,
    preview: Annotated[bool, Query(description="Add the decoded image, reduced, to the answer.")] = False,
) -> Response:
    """Answer the probabilities of COVID-19 and non-COVID for one chest X-ray.

    PNG, JPEG, WebP, TIFF, BMP and DICOM are read, told by content. Decision support for research, never
    a diagnosis.
    """
    service = _service(request)
    with service.admit():
        answered = await _answer(request, with_preview=preview)
        with _encoding(service):
            answer = prediction_answer(
                answered,
                _identity(service),
                service.artifact.metadata.threshold,
                request.state.request_id,
                explain=explain,
                preview=await service.run(preview_png, answered.decoded.preview) if preview else None,
            )
            return Response(answer.model_dump_json(), media_type="application/json")


@upload_router.post(
    "/explain",
    summary="The image with the heatmap over it",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": _BINARY}}}, **_UPLOAD_ERRORS},
    openapi_extra=_UPLOAD_BODY,
    tags=["prediction"],
)
async def explain(request: Request) -> Response:
    """Answer the image with the heatmap over it: what speaks for COVID-19 in the eyes of the model.

    The heatmap covers the part of the image that the model saw, `input.seen_region` of `/predict`.
    """
    service = _service(request)
    with service.admit():
        answered = await _answer(request, with_preview=True)
        with _encoding(service):
            decoded, heatmap = answered.decoded, answered.prediction.heatmap
            size = (decoded.facts.width, decoded.facts.height)
            png = await service.run(overlay_png, decoded.preview, heatmap, answered.seen, size)
            return Response(png, media_type="image/png")


@model_router.get(
    "/model",
    summary="The served model's metadata and cards",
    responses=responses(*_ACCESS_ERRORS, NotReady),
    tags=["model"],
)
async def model(request: Request) -> ModelAnswer:
    """Answer the served model's metadata and cards."""
    service = _service(request)
    return ModelAnswer(
        digest=service.artifact.digest,
        engine=service.engine.description,
        input_gate=service.input_gate,
        metadata=service.artifact.metadata,
        card=service.artifact.card,
        data_card=service.artifact.data_card,
    )


@router.get("/livez", summary="Alive", tags=["operation"])
async def livez() -> State:
    """Answer that the process lives."""
    return State(status="alive")


@router.get("/readyz", summary="Verified and warmed up", responses=responses(NotReady, Stopping), tags=["operation"])
async def readyz(request: Request) -> State:
    """Answer whether the model is verified, reproduces its golden outputs and is warmed up, and nothing stops it."""
    _service(request).check_readiness()
    return State(status="ready")


@metrics_router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **responses(*_ACCESS_ERRORS)},
    tags=["operation"],
)
async def metrics(request: Request) -> Response:
    """Answer the metrics in Prometheus' text format."""
    return Response(_service(request).metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _answer(request: Request, *, with_preview: bool = False) -> Answered:
    service = _service(request)
    read = partial(read_upload, request, service.settings.max_upload_bytes)
    answered = await service.answer(read, partial(gone, request), with_preview=with_preview)
    facts = answered.decoded.facts
    request.state.fields = {
        "format": facts.format,
        "width": facts.width,
        "height": facts.height,
        "bytes": answered.bytes,
        "timings_ms": {stage: round(1000 * seconds, 1) for stage, seconds in answered.seconds.items()},
    }
    return answered


@contextmanager
def _encoding(service: Service) -> Iterator[None]:
    start = time.perf_counter()
    yield
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - start)


def _identity(service: Service) -> ModelIdentity:
    metadata = service.artifact.metadata
    return ModelIdentity(name=metadata.name, version=metadata.version, digest=service.artifact.digest)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
