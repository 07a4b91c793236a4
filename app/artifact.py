"""An exported model: ``models/<name>/<version>/``, laid out as TensorFlow Serving expects.

saved_model.pb, variables/     the network; signature ``serving_default``
assets.extra/metadata.json     what it is, and the SHA-256 of every other file
assets.extra/metadata.json.sig optional: who exported it, see app.signature
assets.extra/golden.npz        synthetic inputs with the outputs they must give
assets.extra/MODEL_CARD.md     intended use, limits, metrics, data
assets.extra/card.json         what the card says beside the metadata: it is written again from both
assets.extra/DATA_CARD.md      what the model was trained on
assets.extra/seen.txt          digests of the images it was trained on, for evaluations elsewhere
assets.extra/gate.npz          optional: what tells images that the model was not made for, see app.gate
assets.extra/int8/             optional: the same network quantized, OpenVINO's model.xml and model.bin
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import ArtifactError
from app.imaging import PREPROCESSING_VERSIONS
from app.outputs import Golden, Infer
from app.signature import check_signature

FORMAT_VERSION: Final = 1
EXTRA: Final = "assets.extra"
METADATA: Final = f"{EXTRA}/metadata.json"
SIGNATURE: Final = f"{METADATA}.sig"
GOLDEN: Final = f"{EXTRA}/golden.npz"
MODEL_CARD: Final = f"{EXTRA}/MODEL_CARD.md"
DATA_CARD: Final = f"{EXTRA}/DATA_CARD.md"
"""What the model was trained on; older artifacts have none."""
GATE: Final = f"{EXTRA}/gate.npz"
"""The input gate, see app.gate; older artifacts have none."""
INT8_MODEL: Final = f"{EXTRA}/int8/model.xml"
"""The quantized network, with its weights in ``model.bin`` beside it."""
POSITIVE: Final = 1
"""Index of COVID-19 in an artifact's labels and in the columns of ``probabilities``."""

Precision = Literal["f32", "bf16", "int8"]
"""What a model is computed in: the weights' own float32, bfloat16, or the quantized network."""


class TensorSpec(BaseModel):
    """Name-independent description of an input or output of the signature; -1 is any size."""

    model_config = ConfigDict(frozen=True)

    shape: tuple[int, ...]
    dtype: Literal["float32"] = "float32"
    minimum: float | None = None
    maximum: float | None = None


class PrecisionRecord(BaseModel):
    """What a precision changed on validation against f32, measured when the model was exported."""

    model_config = ConfigDict(frozen=True)

    images: int = Field(ge=1, description="Of validation.")
    largest_difference: float = Field(ge=0, le=1, description="Of an image's COVID-19 probability.")
    label_flips: int = Field(ge=0, description="Images with another label at the model's threshold.")
    farthest_flip: float | None = Field(
        None, ge=0, le=1, description="Largest distance of such an image's f32 probability from the threshold."
    )
    roc_auc_difference: float = Field(description="ROC AUC minus that of f32.")
    accuracy_difference: float = Field(description="Accuracy at the threshold minus that of f32.")
    accepted: bool = Field(description="Whether the model may be served in this precision.")
    reasons: tuple[str, ...] = Field((), description="Why not.")

    def __str__(self) -> str:
        """Tell the measurements in words."""
        difference = f"a probability differs by up to {self.largest_difference:.4f}"
        flips = f"{self.label_flips} labels flip"
        if self.farthest_flip is not None:
            flips += f", the farthest {self.farthest_flip:.4f} from the threshold"
        return (
            f"on {self.images} validation images {difference}, {flips}, "
            f"ROC AUC moves by {self.roc_auc_difference:+.4f} and accuracy by {self.accuracy_difference:+.4f}"
        )


class GateCount(BaseModel):
    """What the input gate said of images of one kind."""

    model_config = ConfigDict(frozen=True)

    images: int = Field(ge=0)
    as_expected: int = Field(ge=0, description="Let through, or refused with the code that names what they are.")


class GateRecord(BaseModel):
    """What the input gate was fitted on and what it said of images that it was not fitted on."""

    model_config = ConfigDict(frozen=True)

    fitted_on: dict[str, int] = Field(description="Images, by kind.")
    let_through: float = Field(gt=0, le=1, description="Share of the validation images that each limit lets through.")
    surprise_limit: float = Field(ge=0, description="Of a thumbnail; minus the logarithm of a probability.")
    distance_limit: float = Field(gt=0, description="Of the features; most training radiographs have about 1.")
    validation: dict[str, GateCount] = Field(description="The limits were chosen on these, upright; by kind.")
    test: dict[str, GateCount] = Field(description="By kind.")


class Metadata(BaseModel):
    """Contents of ``metadata.json``."""

    model_config = ConfigDict(frozen=True)

    format_version: int
    name: str
    version: int = Field(ge=1)
    backbone: str
    recipe: str
    note: str = Field(description="What a user must know about this model, in a sentence or two.")
    labels: tuple[str, str] = Field(description="Class names in the order of the outputs' columns.")
    preprocessing_version: int = Field(description="What an image goes through before the network.")
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    temperature: float = Field(gt=0, description="Divides the logits inside the graph.")
    calibration_bias: float = Field(0.0, description="Then added to the logit of COVID-19; older exports have none.")
    threshold: float = Field(ge=0, le=1, description="COVID-19 is answered from this probability on.")
    threshold_rule: str
    metrics: dict[str, Any] = Field(description="By split, each with the data it was measured on.")
    tolerances: dict[str, float | dict[str, float]] = Field(
        description="Largest allowed difference from the golden outputs, by precision: one for all, or by output."
    )
    precisions: dict[Precision, PrecisionRecord] = Field(
        default={}, description="What each precision below f32 changed on validation; those that were measured."
    )
    gate: GateRecord | None = Field(None, description="Of the input gate; null: there is none.")
    config_digest: str
    data_digest: str
    git_commit: str
    libraries: dict[str, str]
    parameter_count: int
    files: dict[str, str] = Field(description="SHA-256 of every other file, by path relative to the artifact.")


@dataclass(frozen=True, slots=True)
class Artifact:
    """An exported model folder whose files were found to be those that were exported.

    Attributes:
        path: The version folder.
        metadata: Contents of ``metadata.json``.
        digest: SHA-256 of ``metadata.json``, and so of the whole artifact.
        card: The model card, Markdown.
        data_card: That of the data it was trained on; None where the artifact has none.
    """

    path: Path
    metadata: Metadata
    digest: str
    card: str
    data_card: str | None = None

    def check_files(self) -> None:
        """Check that the folder still holds what was exported, no more and no less.

        Raises:
            ArtifactError: It does not; names the file.
        """
        _check_files(self.path, self.metadata)

    def check_precision(self, precision: Precision) -> None:
        """Check that the model may be served in a precision: f32 always, others as they were measured at export.

        Raises:
            ArtifactError: It may not; names the measurements.
        """
        record = self.metadata.precisions.get(precision)
        if precision == "f32" or (record and record.accepted):
            return
        if record:
            raise ArtifactError(
                f"The model in {self.path} may not be served in {precision}: {record}. "
                f"That is too much: {'; '.join(record.reasons)}. Serve it in f32."
            )
        how = "with --int8" if precision == "int8" else f"on a processor that computes in {precision}"
        raise ArtifactError(
            f"The model in {self.path} was not measured in {precision} when it was exported, so that it may be served "
            f"in f32 alone. Serve it in f32, or export it again {how}."
        )

    def check_golden(self, infer: Infer, precision: Precision, batch_size: int = 1) -> None:
        """Check that an engine reproduces the golden outputs.

        Args:
            infer: The engine's call.
            precision: Selects the tolerance.
            batch_size: Images a call.

        Raises:
            ArtifactError: It does not, or the artifact has no tolerance for this precision.
        """
        tolerance = self.metadata.tolerances.get(precision)
        if tolerance is None:
            known = ", ".join(self.metadata.tolerances)
            raise ArtifactError(f"{self.path / METADATA} has no tolerance for precision {precision}; it has: {known}.")
        differences = Golden.load(self.path / GOLDEN).largest_difference(infer, batch_size)
        allowed = tolerance if isinstance(tolerance, dict) else dict.fromkeys(differences, tolerance)
        wrong = {name: value for name, value in differences.items() if not value <= allowed.get(name, 0)}
        if wrong:
            listed = ", ".join(f"{name} by {value:.2g}" for name, value in wrong.items())
            limits = " and ".join(sorted({f"{allowed.get(name, 0):g}" for name in wrong}))
            raise ArtifactError(
                f"The model in {self.path} does not reproduce {GOLDEN}: {listed}; "
                f"allowed is {limits} in {precision}. "
                "Its labels, scaling or weights are not those that were exported. Export it again."
            )


def open_artifact(path: Path, public_key: Path | None = None) -> Artifact:
    """Open a model folder and verify every file of it.

    Args:
        path: ``models/<name>/<version>``, or ``models/<name>`` for its highest version.
        public_key: Whose signature it must have; None: it needs none.

    Raises:
        ArtifactError: Missing, damaged, not signed by that key, or for another version of the software; names the file.
        SettingError: The public key cannot be used.
    """
    folder = _version_folder(path)
    metadata_path = folder / METADATA
    text = _read(metadata_path)
    if public_key:
        check_signature(text, folder / SIGNATURE, public_key)
    metadata = _parse(text, metadata_path)
    _check_compatible(metadata, metadata_path)
    _check_files(folder, metadata)
    card = _read(folder / MODEL_CARD).decode()
    data_card = _read(folder / DATA_CARD).decode() if DATA_CARD in metadata.files else None
    return Artifact(folder, metadata, hashlib.sha256(text).hexdigest(), card, data_card)


def file_digests(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of every file of an artifact but ``metadata.json`` and its signature."""
    return {name: _sha256(folder / name) for name in _file_names(folder)}


_HINT: Final = "CXR_MODEL must name a folder that 'python -m training export' wrote: models/<name>/<version>."


def _version_folder(path: Path) -> Path:
    if not path.is_dir():
        raise ArtifactError(f"There is no model folder {path}. {_HINT}")
    versions = [child for child in path.iterdir() if child.is_dir() and child.name.isdecimal()]
    return max(versions, key=lambda child: int(child.name), default=path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}). {_HINT}") from error


def _parse(text: bytes, path: Path) -> Metadata:
    try:
        return Metadata.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ArtifactError(f"{path} is not valid: {field}: {first['msg']}. Export the model again.") from error


def _check_compatible(metadata: Metadata, path: Path) -> None:
    ours = {"format_version": (FORMAT_VERSION,), "preprocessing_version": tuple(PREPROCESSING_VERSIONS)}
    for name, supported in ours.items():
        if getattr(metadata, name) not in supported:
            raise ArtifactError(
                f"{path} has {name} {getattr(metadata, name)}; this service reads {' or '.join(map(str, supported))}. "
                "Export the model with this version of the software, or run the version that exported it."
            )


def _check_files(folder: Path, metadata: Metadata) -> None:
    found = set(_file_names(folder))
    for name, expected in metadata.files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ArtifactError(f"{folder / METADATA} lists {name!r}, which is outside the folder.")
        if name not in found:
            raise ArtifactError(f"{folder / name} is missing. The export is incomplete: copy or export it again.")
        if _sha256(folder / name) != expected:
            raise ArtifactError(
                f"{folder / name} is damaged: its SHA-256 is not the one in {METADATA}. Copy or export it again."
            )
    unknown = sorted(found - metadata.files.keys())
    if unknown:
        raise ArtifactError(f"{folder / unknown[0]} is not listed in {METADATA}. Remove it, or export the model again.")


def _file_names(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (METADATA, SIGNATURE):
            yield name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
