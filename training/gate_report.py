"""Measure a model's input gate on images that it was not fitted on: false refusals, false acceptances, names, speed."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from app.artifact import Artifact, open_artifact
from app.engines import load_engine
from app.errors import TrainingError, UnlikeTraining, UploadError
from app.gate import POSES, Gate
from app.imaging import to_square
from app.imaging.decode import decode
from app.outputs import Infer
from training.environment import library_versions, processor
from training.gate import features_of, find, in_pose, is_expected
from training.images import LIMITS
from training.manifest import Manifest, Record
from training.markdown import escape, paragraphs, table
from training.splits import split
from training.squares import BATCH, load_squares

ACCEPTED: Final = "accepted"
"""In place of the code of a refusal."""

_SPEED_CALLS: Final = 500
_LISTED: Final = 200
"""Images that a list in the report names; of more it gives the number. The JSON has all."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of some images the gate treated as it should.

    Attributes:
        images: Of the kind.
        right: Of them, as it should.
        low: Of the 95 % interval of the share (Wilson).
        high: Of the same.
        said: What the gate said, by code.
    """

    images: int
    right: int
    low: float
    high: float
    said: dict[str, int]


@dataclass(frozen=True, slots=True)
class Wrong:
    """An image that the gate did not treat as it should.

    Attributes:
        name: Digest or path of a radiograph; path of another image.
        kind: Of the image.
        said: The code, or ``ACCEPTED``.
        distance: That it was refused for; None for another reason.
    """

    name: str
    kind: str
    said: str
    distance: float | None


@dataclass(frozen=True, slots=True)
class GateMeasurement:
    """Everything that the report says.

    Attributes:
        command: As it was typed.
        model: Name and version.
        digest: Of the model.
        images: Which radiographs, in words.
        radiographs: By pose.
        negatives: By kind, as they are.
        negatives_in_grey: By kind, as if none of them were coloured.
        wrong_radiographs: Refused, or not named as what they are.
        accepted_negatives: Accepted, or refused for their colour alone.
        unreadable: Files among the negatives that the service does not read.
        microseconds: Of one call of the gate, median.
        environment: Processor and versions.
    """

    command: str
    model: str
    digest: str
    images: str
    radiographs: dict[str, Rate]
    negatives: dict[str, Rate]
    negatives_in_grey: dict[str, Rate]
    wrong_radiographs: list[Wrong]
    accepted_negatives: list[Wrong]
    unreadable: list[str]
    microseconds: float
    environment: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Negatives:
    """Images that are no radiographs: N names ``<kind>/<file>``, squares (N, 224, 224), shares of colour."""

    names: list[str]
    squares: NDArray[np.uint8]
    coloured: list[float]
    unreadable: list[str]


def measure_gate(
    model: Path, manifest: Manifest, seed: int, negatives: Path | None, command: str, *, list_files: bool
) -> GateMeasurement:
    """Ask a model's gate about radiographs in all poses, and about images that are none.

    Args:
        model: ``models/<name>/<version>``, or ``models/<name>`` for its highest version.
        manifest: Radiographs; of the data that the model was trained on the test part is taken, of others all.
        seed: Of the split.
        negatives: Folder of images that are no frontal chest radiographs, in a folder for each kind; None: none.
        command: As it was typed, for the record.
        list_files: Name radiographs by path, and not by digest.

    Raises:
        ArtifactError: The model is missing, damaged, or does not reproduce its golden outputs.
        TrainingError: The model has no gate, or images are missing or cannot be read.
    """
    artifact = open_artifact(model)
    gate = Gate.load(artifact)
    if gate is None:
        raise TrainingError(f"The model in {artifact.path} has no input gate. Export it again: an export fits one.")
    preprocessing = artifact.metadata.preprocessing_version
    others = _read_negatives(negatives, preprocessing)
    infer = load_engine("openvino", artifact, batch_size=BATCH).infer
    records, images = _records(artifact, manifest, seed)
    squares = load_squares(manifest.root, records, preprocessing=preprocessing)
    names = [record.path if list_files else record.sha256[:16] for record in records]
    rates, wrong = _ask_about_radiographs(gate, infer, squares, names)
    features = features_of(infer, others.squares) if others.names else np.zeros((0, 1), np.float32)
    as_sent = _inspect(gate, others, features, others.coloured)
    in_grey = _inspect(gate, others, features, [0.0] * len(others.names))
    accepted = [
        _wrong(name, _kind(name), sent)
        for name, sent, grey in zip(others.names, as_sent, in_grey, strict=True)
        if grey is None
    ]
    return GateMeasurement(
        command=command,
        model=f"{artifact.metadata.name}/{artifact.metadata.version}",
        digest=artifact.digest,
        images=images,
        radiographs=rates,
        negatives=_by_kind(others.names, as_sent),
        negatives_in_grey=_by_kind(others.names, in_grey),
        wrong_radiographs=wrong,
        accepted_negatives=accepted,
        unreadable=others.unreadable,
        microseconds=_time(gate, squares[0], features_of(infer, squares[:1])[0]),
        environment={"processor": processor(), **library_versions()},
    )


def write_gate_report(measured: GateMeasurement, out: Path) -> Path:
    """Write ``gate.md`` and ``gate.json`` into a folder, and return the first."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "gate.json").write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")
    path = out / "gate.md"
    path.write_text(_text(measured) + "\n", encoding="utf-8")
    return path


def _records(artifact: Artifact, manifest: Manifest, seed: int) -> tuple[tuple[Record, ...], str]:
    """Choose the radiographs that the model has not seen, and say which they are."""
    if manifest.digest != artifact.metadata.data_digest:
        return manifest.records, f"all {len(manifest.records)} radiographs of data that the model was not trained on"
    records = split(manifest, seed).test
    return records, f"the test part, {len(records)} radiographs, of the data that the model was trained on"


def _ask_about_radiographs(
    gate: Gate, infer: Infer, squares: NDArray[np.uint8], names: Sequence[str]
) -> tuple[dict[str, Rate], list[Wrong]]:
    rates, wrong = {}, []
    for pose, (quarters, inverted) in enumerate(POSES):
        kind = f"turned by {90 * quarters} degrees" if quarters else ""
        kind = " and ".join(filter(None, ["inverted" if inverted else "", kind])) or "upright"
        found = find(gate, infer, in_pose(squares, pose))
        right = [is_expected(finding, pose) for finding in found]
        rates[kind] = _rate(right, found)
        wrong += [_wrong(name, kind, said) for name, said, ok in zip(names, found, right, strict=True) if not ok]
    return rates, wrong


def _read_negatives(folder: Path | None, preprocessing: int) -> _Negatives:
    names, squares, coloured, unreadable = [], [], [], []
    for path in sorted(folder.rglob("*")) if folder else ():
        if not path.is_file():
            continue
        name = path.relative_to(folder or path).as_posix()
        try:
            image = decode(path.read_bytes(), LIMITS)
        except UploadError as error:
            unreadable.append(f"{name}: {error.code}")
            continue
        names.append(name)
        squares.append(to_square(image.pixels, version=preprocessing))
        coloured.append(image.coloured)
    if folder and not names:
        raise TrainingError(f"{folder} holds no image that can be read. 'python -m training negatives' gathers some.")
    return _Negatives(names, np.stack(squares) if squares else np.zeros((0, 1, 1), np.uint8), coloured, unreadable)


def _inspect(
    gate: Gate, others: _Negatives, features: NDArray[np.float32], coloured: Sequence[float]
) -> list[UnlikeTraining | None]:
    return [gate.inspect(*image) for image in zip(others.squares, features, coloured, strict=True)]


def _by_kind(names: Sequence[str], found: Sequence[UnlikeTraining | None]) -> dict[str, Rate]:
    by_kind: dict[str, list[UnlikeTraining | None]] = {}
    for name, finding in zip(names, found, strict=True):
        by_kind.setdefault(_kind(name), []).append(finding)
    by_kind["all"] = list(found)
    return {kind: _rate([f is not None for f in own], own) for kind, own in by_kind.items() if own}


def _kind(name: str) -> str:
    return name.split("/")[0] if "/" in name else "others"


def _rate(right: Sequence[bool], found: Sequence[UnlikeTraining | None]) -> Rate:
    interval = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    said = Counter(_code(finding) for finding in found)
    return Rate(len(right), sum(right), float(interval.low), float(interval.high), dict(said.most_common()))


def _wrong(name: str, kind: str, finding: UnlikeTraining | None) -> Wrong:
    return Wrong(name, kind, _code(finding), finding.distance if finding else None)


def _code(finding: UnlikeTraining | None) -> str:
    return finding.code if finding else ACCEPTED


def _time(gate: Gate, square: NDArray[np.uint8], features: NDArray[np.float32]) -> float:
    """Return the median time of a call in microseconds."""
    times = []
    for _ in range(_SPEED_CALLS):
        start = time.perf_counter()
        gate.inspect(square, features, 0.0)
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times))


def _text(measured: GateMeasurement) -> str:
    return paragraphs(
        f"# Input gate of {escape(measured.model)}",
        f"Digest `{measured.digest}`. Made by `{measured.command}`. Intervals: 95 % (Wilson).",
        "## Radiographs",
        f"Measured on {measured.images}; the poses were made of them in code. Upright ones should be let through, "
        "others be refused with the code and the advice that belong to their pose.",
        _rates(measured.radiographs, "as they should be"),
        "Those that were not:",
        _list(measured.wrong_radiographs),
        "## Images that are no frontal chest radiographs",
        "None of them was used in fitting. As they are:" if measured.negatives else "None were given.",
        _rates(measured.negatives, "refused") if measured.negatives else "",
        "As if none of them were coloured, so that the picture alone decides:" if measured.negatives else "",
        _rates(measured.negatives_in_grey, "refused") if measured.negatives else "",
        "Accepted, or refused for colour alone:" if measured.negatives else "",
        _list(measured.accepted_negatives) if measured.negatives else "",
        f"Not read, as the service would not: {escape(', '.join(measured.unreadable))}." if measured.unreadable else "",
        "## Speed",
        f"One image: {measured.microseconds:.0f} µs, median of {_SPEED_CALLS} calls "
        f"({escape(measured.environment['processor'])}).",
    )


def _rates(rates: dict[str, Rate], what: str) -> str:
    rows = [
        [
            escape(kind),
            str(rate.images),
            f"{rate.right} ({rate.right / rate.images:.2%})",
            f"{rate.low:.2%} to {rate.high:.2%}",
            ", ".join(f"{code} {count}" for code, count in rate.said.items()),
        ]
        for kind, rate in rates.items()
    ]
    return table(["images", "number", what, "interval", "what was said"], rows)


def _list(wrong: Sequence[Wrong]) -> str:
    if not wrong:
        return "None."
    rows = [
        [escape(w.name), w.kind, w.said, "" if w.distance is None else f"{w.distance:.2f}"] for w in wrong[:_LISTED]
    ]
    more = f"And {len(wrong) - _LISTED} more, in `gate.json`." if len(wrong) > _LISTED else ""
    return paragraphs(table(["image", "kind", "what was said", "distance"], rows), more)
