"""What the HTTP interface answers."""

import base64
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.artifact import Metadata
from app.imaging import ImageFacts, Region
from app.overlay import PREVIEW_SIDE
from app.service import Answered


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Warning(_Answer):  # noqa: A001 - the interface's own word
    """Something about an accepted image that its sender should know."""

    code: str
    message: str


class SeenRegion(_Answer):
    """A part of the upright image, in its pixels."""

    left: int = Field(description="Columns to its left.")
    top: int = Field(description="Rows above it.")
    width: int = Field(description="Its columns.")
    height: int = Field(description="Its rows.")


class Input(_Answer):
    """What was decoded."""

    format: str = Field(description="PNG, JPEG, WEBP, TIFF, BMP or DICOM, told by content.")
    width: int = Field(description="Columns of the upright image.")
    height: int = Field(description="Rows of the upright image.")
    bits: int = Field(description="Bits a sample as stored.")
    photometric_interpretation: str | None = Field(None, description="DICOM (0028,0004); null for other formats.")
    seen_region: SeenRegion = Field(
        description="The part that the model saw, and that the heatmap is of: the whole image where the model's "
        "preprocessing_version is 1, the centre square where it is 2."
    )


class ModelIdentity(_Answer):
    """Which model answered."""

    name: str
    version: int
    digest: str = Field(description="SHA-256 that stands for the whole artifact.")


class PredictionAnswer(_Answer):
    """Answer of ``POST /predict``. Decision support for research, never a diagnosis."""

    label: str = Field(description="COVID-19 where its probability reaches the threshold.")
    probabilities: dict[str, float] = Field(description="By label; they sum to 1.")
    threshold: float = Field(description="COVID-19 is answered from this probability on.")
    model: ModelIdentity
    input: Input
    warnings: tuple[Warning, ...]
    heatmap: list[list[float]] | None = Field(
        None,
        description="With ?explain=true: Grad-CAM of the COVID-19 logit in 0..1 over input.seen_region, rows from "
        "top to bottom.",
    )
    preview: str | None = Field(
        None,
        description=f"With ?preview=true: the decoded image as a grey PNG in base64, "
        f"reduced to {PREVIEW_SIDE} pixels on its longer side; to recognise it, not to read it.",
    )
    request_id: str
    timings_ms: dict[str, float] = Field(description="Time spent a stage: read, decode, infer, wait (for the others).")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "label": "COVID-19",
                "probabilities": {"non-COVID": 0.18, "COVID-19": 0.82},
                "threshold": 0.5,
                "model": {"name": "efficientnetlite0", "version": 1, "digest": "9f2c…"},
                "input": {
                    "format": "DICOM",
                    "width": 2022,
                    "height": 2022,
                    "bits": 12,
                    "photometric_interpretation": "MONOCHROME1",
                    "seen_region": {"left": 0, "top": 0, "width": 2022, "height": 2022},
                },
                "warnings": [],
                "heatmap": None,
                "preview": None,
                "request_id": "4f1c0e1c9a3b",
                "timings_ms": {"read": 1.2, "decode": 21.4, "wait": 0.1, "infer": 14.9},
            }
        }
    )


class ModelAnswer(_Answer):
    """Answer of ``GET /model``."""

    digest: str
    engine: str = Field(description="What runs the model, with version and precision.")
    input_gate: Literal["refuse", "warn", "off", "none"] = Field(
        description="What happens to images that are no upright frontal chest radiographs; none: there is no gate."
    )
    metadata: Metadata
    card: str = Field(description="The model card, Markdown.")
    data_card: str | None = Field(description="The card of the data it was trained on, Markdown; null: it has none.")


class State(_Answer):
    """Answer of ``GET /livez`` and ``GET /readyz``."""

    status: str


class Problem(_Answer):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(description="Stable; what a program should look at.")
    detail: str = Field(description="For people: what was received, what is accepted, what to do.")
    request_id: str
    distance: float | None = Field(
        None, description="Of the image from the training radiographs; there only where that is why it is refused."
    )
    limit: float | None = Field(None, description="Of such distances; there with `distance`.")


def prediction_answer(
    answered: Answered,
    identity: ModelIdentity,
    threshold: float,
    request_id: str,
    *,
    explain: bool,
    preview: bytes | None,
) -> PredictionAnswer:
    """Put a prediction into the interface's form, with its heatmap and a preview, a PNG, where they were asked for."""
    facts, prediction = answered.decoded.facts, answered.prediction
    return PredictionAnswer(
        label=prediction.label,
        probabilities=prediction.probabilities,
        threshold=threshold,
        model=identity,
        input=_input(facts, answered.seen),
        warnings=tuple(Warning(code=w.code, message=w.message) for w in answered.warnings),
        heatmap=_rows(prediction.heatmap) if explain else None,
        preview=base64.b64encode(preview).decode() if preview else None,
        request_id=request_id,
        timings_ms={stage: round(1000 * value, 3) for stage, value in answered.seconds.items()},
    )


def _input(facts: ImageFacts, seen: Region) -> Input:
    return Input(
        format=facts.format,
        width=facts.width,
        height=facts.height,
        bits=facts.bits,
        photometric_interpretation=facts.photometric_interpretation,
        seen_region=SeenRegion(left=seen.left, top=seen.top, width=seen.width, height=seen.height),
    )


def _rows(heatmap: Any) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in heatmap]
