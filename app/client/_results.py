"""What the service answers, as typed values.

Fields that are not known here are ignored, and kept in ``raw``; fields that are missing or of another type make the
answer an ``UnexpectedAnswer``. Numbers are what the JSON says, to the last bit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Never, TypeVar

from app.client._exceptions import UnexpectedAnswer

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_QUOTED: Final = 80
"""Most characters of an unexpected value that a message repeats."""

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered.

    Attributes:
        name: Of the model.
        version: From 1.
        digest: SHA-256, hexadecimal, that stands for the whole artifact.
    """

    name: str
    version: int
    digest: str


@dataclass(frozen=True)
class Region:
    """A part of the upright image, in its pixels.

    Attributes:
        left: Columns to its left.
        top: Rows above it.
        width: Its columns.
        height: Its rows.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class InputFacts:
    """What the service decoded.

    Attributes:
        format: PNG, JPEG, WEBP, TIFF, BMP or DICOM, told by content.
        width: Columns of the upright image.
        height: Rows of the upright image.
        bits: Bits a sample as stored.
        photometric_interpretation: DICOM (0028,0004); None for other formats.
        seen_region: The part that the model saw, and that the heatmap is of.
    """

    format: str
    width: int
    height: int
    bits: int
    photometric_interpretation: str | None
    seen_region: Region


@dataclass(frozen=True)
class ImageWarning:
    """Something about an accepted image that its sender should know.

    Attributes:
        code: Stable, for programs.
        message: For people.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Prediction:
    """Answer for one image. Decision support for research, never a diagnosis.

    Attributes:
        label: COVID-19 where its probability reaches the threshold.
        probabilities: In 0..1, by label; they sum to 1.
        threshold: COVID-19 is answered from this probability on.
        model: Which model answered.
        input: What was decoded.
        warnings: About the image.
        heatmap: Grad-CAM of the COVID-19 logit in 0..1 over ``input.seen_region``, rows from top to bottom; None unless
            asked for.
        request_id: Under which the service's log has the request.
        timings_ms: Milliseconds by stage.
        raw: The JSON as it came.
    """

    label: str
    probabilities: Mapping[str, float]
    threshold: float
    model: ModelIdentity
    input: InputFacts
    warnings: tuple[ImageWarning, ...]
    heatmap: tuple[tuple[float, ...], ...] | None
    request_id: str
    timings_ms: Mapping[str, float]
    raw: Mapping[str, object]


@dataclass(frozen=True)
class Model:
    """The served model.

    Attributes:
        name: Of the model.
        version: From 1.
        digest: SHA-256, hexadecimal, that stands for the whole artifact.
        engine: What runs the model, with version and precision.
        threshold: COVID-19 is answered from this probability on.
        metadata: The artifact's ``metadata.json``.
        card: The model card, Markdown.
        data_card: The card of the data it was trained on, Markdown; None where the model has none.
        raw: The JSON as it came.
    """

    name: str
    version: int
    digest: str
    engine: str
    threshold: float
    metadata: Mapping[str, object]
    card: str
    data_card: str | None
    raw: Mapping[str, object]


def prediction(content: bytes) -> Prediction:
    """Read the answer of ``POST /predict``.

    Raises:
        UnexpectedAnswer: It is something else.
    """
    raw = _parse(content)
    probabilities = {label: _probability(value, label) for label, value in _field(raw, "probabilities", dict).items()}
    label = _field(raw, "label", str)
    if label not in probabilities:
        raise UnexpectedAnswer(f"The answer's label is {_quote(label)}, which is not among its probabilities.")
    return Prediction(
        label=label,
        probabilities=probabilities,
        threshold=_probability(raw.get("threshold"), "threshold"),
        model=_identity(_field(raw, "model", dict)),
        input=_input(_field(raw, "input", dict)),
        warnings=tuple(
            ImageWarning(_field(warning, "code", str), _field(warning, "message", str))
            for warning in _field(raw, "warnings", list)
        ),
        heatmap=_heatmap(raw.get("heatmap")),
        request_id=_field(raw, "request_id", str),
        timings_ms={stage: _number(value, stage) for stage, value in _field(raw, "timings_ms", dict).items()},
        raw=raw,
    )


def model(content: bytes) -> Model:
    """Read the answer of ``GET /model``.

    Raises:
        UnexpectedAnswer: It is something else.
    """
    raw = _parse(content)
    metadata = _field(raw, "metadata", dict)
    return Model(
        name=_field(metadata, "name", str),
        version=_field(metadata, "version", int),
        digest=_field(raw, "digest", str),
        engine=_field(raw, "engine", str),
        threshold=_probability(metadata.get("threshold"), "threshold"),
        metadata=metadata,
        card=_field(raw, "card", str),
        data_card=_field(raw, "data_card", str) if raw.get("data_card") is not None else None,
        raw=raw,
    )


def overlay(content: bytes) -> bytes:
    """Check the answer of ``POST /explain``.

    Returns:
        It, a PNG.

    Raises:
        UnexpectedAnswer: It is something else.
    """
    if not content.startswith(_PNG_SIGNATURE):
        raise UnexpectedAnswer(f"Received {len(content)} bytes that are not a PNG: {_quote(content)}.")
    return content


def state(content: bytes) -> str:
    """Read the answer of ``GET /readyz``.

    Raises:
        UnexpectedAnswer: It is something else.
    """
    return _field(_parse(content), "status", str)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        # NaN and Infinity are not JSON, although Python reads them.
        raw = json.loads(content, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise UnexpectedAnswer(
            f"Received {len(content)} bytes that are not a JSON object: {_quote(content)}. "
            "Is this the address of the service?"
        )
    return raw


def _not_json(constant: str) -> Never:
    raise ValueError(constant)


def _field(source: object, name: str, kind: type[_Value]) -> _Value:
    value = source.get(name) if isinstance(source, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):  # a bool is an int only to Python
        raise UnexpectedAnswer(f"The answer's {name!r} should be of type {kind.__name__} and is {_quote(value)}.")
    return value


def _number(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnexpectedAnswer(f"The answer's {name!r} should be a number and is {_quote(value)}.")
    return float(value)


def _probability(value: object, name: str) -> float:
    number = _number(value, name)
    if not 0 <= number <= 1:
        raise UnexpectedAnswer(f"The answer's {name!r} should be in 0..1 and is {_quote(value)}.")
    return number


def _identity(source: dict[str, Any]) -> ModelIdentity:
    return ModelIdentity(_field(source, "name", str), _field(source, "version", int), _field(source, "digest", str))


def _input(source: dict[str, Any]) -> InputFacts:
    photometric = source.get("photometric_interpretation")
    return InputFacts(
        format=_field(source, "format", str),
        width=_field(source, "width", int),
        height=_field(source, "height", int),
        bits=_field(source, "bits", int),
        photometric_interpretation=photometric if isinstance(photometric, str) else None,
        seen_region=_region(_field(source, "seen_region", dict)),
    )


def _region(source: dict[str, Any]) -> Region:
    return Region(*(_field(source, name, int) for name in ("left", "top", "width", "height")))


def _heatmap(rows: object) -> tuple[tuple[float, ...], ...] | None:
    if rows is None:
        return None
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise UnexpectedAnswer(f"The answer's 'heatmap' should be rows of numbers and is {_quote(rows)}.")
    return tuple(tuple(_number(value, "heatmap") for value in row) for row in rows)


def _quote(value: object) -> str:
    text = repr(value[:_QUOTED] if isinstance(value, bytes | str) else value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
