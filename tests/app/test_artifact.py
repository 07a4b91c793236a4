"""Opening an exported model folder: what is verified, what is refused and in which words."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.artifact import DATA_CARD, GOLDEN, METADATA, MODEL_CARD, Precision, file_digests, open_artifact
from app.errors import ArtifactError
from app.imaging import PREPROCESSING_VERSIONS
from app.outputs import Golden, Outputs
from tests.app.fakes import TOLERANCE, FakeEngine, golden, metadata, write_artifact

WEIGHTS = "variables/variables.data-00000-of-00001"


def change_metadata(folder: Path, **changes: object) -> None:
    path = folder / METADATA
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lists_outside_file(folder: Path) -> None:
    change_metadata(folder, files={"../elsewhere": "0" * 64})


def without_card(folder: Path) -> None:
    (folder / MODEL_CARD).unlink()
    change_metadata(folder, files=file_digests(folder))


def test_opens_what_was_exported(tmp_path: Path) -> None:
    artifact = open_artifact(write_artifact(tmp_path / "1"))
    assert artifact.metadata.labels == ("non-COVID", "COVID-19")
    assert artifact.card == "# A fake\n"
    assert len(artifact.digest) == 64


def test_digest_stands_for_the_whole_artifact(tmp_path: Path) -> None:
    first, same, other = (open_artifact(write_artifact(tmp_path / name)) for name in ("a", "b", "c"))
    assert first.digest == same.digest == other.digest
    (other.path / "saved_model.pb").write_bytes(b"another graph")
    change_metadata(other.path, files=file_digests(other.path))
    assert open_artifact(other.path).digest != first.digest


@pytest.mark.parametrize("version", PREPROCESSING_VERSIONS)
def test_opens_models_of_every_preprocessing(tmp_path: Path, version: int) -> None:
    artifact = open_artifact(write_artifact(tmp_path / "1", preprocessing_version=version))
    assert artifact.metadata.preprocessing_version == version


def test_model_folder_means_its_highest_version(tmp_path: Path) -> None:
    for version in (9, 10, 2):
        write_artifact(tmp_path / str(version), version=version)
    (tmp_path / "11-draft").mkdir()
    (tmp_path / "12").write_text("no folder")
    assert open_artifact(tmp_path).metadata.version == 10
    assert open_artifact(tmp_path / "9").metadata.version == 9


def test_later_changes_of_the_folder_do_not_reach_the_card(tmp_path: Path) -> None:
    artifact = open_artifact(write_artifact(tmp_path / "1"))
    (artifact.path / MODEL_CARD).unlink()
    assert artifact.card == "# A fake\n"


def test_a_data_card_is_read_where_there_is_one(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "1")
    assert open_artifact(folder).data_card is None
    (folder / DATA_CARD).write_text("# Data card\n")
    described = json.loads((folder / METADATA).read_text()) | {"files": file_digests(folder)}
    (folder / METADATA).write_text(json.dumps(described))
    assert open_artifact(folder).data_card == "# Data card\n"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / METADATA).unlink(), [METADATA, "cannot be read", "No such file"]),
        (lambda folder: (folder / METADATA).write_text('{"name": '), [METADATA, "not valid", "JSON"]),
        (lambda folder: (folder / METADATA).write_text("{}"), [METADATA, "format_version", "required"]),
        (lambda folder: change_metadata(folder, threshold=2), [METADATA, "threshold"]),
        (
            lambda folder: change_metadata(folder, preprocessing_version=3),
            [METADATA, "preprocessing_version 3; this service reads 1 or 2."],
        ),
        (lambda folder: change_metadata(folder, format_version=3), [METADATA, "format_version 3", "1"]),
        (lambda folder: flip_byte(folder / WEIGHTS), [WEIGHTS, "damaged", "SHA-256"]),
        (lambda folder: flip_byte(folder / GOLDEN), [GOLDEN, "damaged"]),
        (lambda folder: (folder / WEIGHTS).unlink(), [WEIGHTS, "missing"]),
        (lambda folder: (folder / "assets.extra" / "more").write_text(""), ["assets.extra/more", "not listed"]),
        (lists_outside_file, ["../elsewhere", "outside"]),
        (without_card, [MODEL_CARD, "cannot be read"]),
    ],
    ids=[
        "no metadata", "cut off", "no fields", "bad value", "other preprocessing", "other format", "flipped weights",
        "flipped golden", "missing file", "unlisted file", "file outside", "no card",
    ],
)  # fmt: skip
def test_refuses_and_names_the_file(tmp_path: Path, damage: Callable[[Path], object], words: list[str]) -> None:
    folder = write_artifact(tmp_path / "1")
    damage(folder)
    with pytest.raises(ArtifactError) as refusal:
        open_artifact(folder)
    assert str(folder) in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def test_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no model folder .*missing.*CXR_MODEL"):
        open_artifact(tmp_path / "missing")


def swapped(outputs: Outputs) -> Outputs:
    return Outputs(outputs.probabilities[:, ::-1], outputs.heatmap, outputs.features)


@pytest.mark.parametrize(
    ("infer", "named"),
    [
        (lambda images: swapped(FakeEngine().infer(images)), "probabilities"),
        (lambda images: FakeEngine().infer(images * 2), "probabilities"),
        (lambda images: FakeEngine().infer(images * np.nan), "probabilities by inf"),
        (lambda images: FakeEngine().infer(np.roll(images, 16, axis=1)), "features"),
    ],
    ids=["swapped labels", "doubled scaling", "no numbers", "other weights"],
)
def test_golden_outputs_refuse_another_model(tmp_path: Path, infer: Callable, named: str) -> None:
    artifact = open_artifact(write_artifact(tmp_path / "1"))
    artifact.check_golden(FakeEngine().infer, "f32")
    with pytest.raises(ArtifactError, match=f"does not reproduce .*{named}"):
        artifact.check_golden(infer, "f32")


def test_golden_outputs_refuse_another_shape() -> None:
    def infer(images: np.ndarray) -> Outputs:
        outputs = FakeEngine().infer(images)
        return Outputs(outputs.probabilities, outputs.heatmap[:, 1:], outputs.features)

    with pytest.raises(ArtifactError, match="'heatmap' has shape"):
        golden().largest_difference(infer)


def test_golden_outputs_allow_the_tolerance_of_the_precision_alone(tmp_path: Path) -> None:
    def infer(images: np.ndarray) -> Outputs:
        outputs = FakeEngine().infer(images)
        return Outputs(outputs.probabilities + np.float32(2 * TOLERANCE), outputs.heatmap, outputs.features)

    artifact = open_artifact(write_artifact(tmp_path / "1", tolerances={"f32": TOLERANCE, "bf16": 3 * TOLERANCE}))
    artifact.check_golden(infer, "bf16")
    with pytest.raises(ArtifactError, match=r"allowed is 0\.001 in f32"):
        artifact.check_golden(infer, "f32")
    with pytest.raises(ArtifactError, match="no tolerance for precision int8; it has: f32, bf16"):
        artifact.check_golden(infer, "int8")


MEASURED = {
    "images": 269,
    "largest_difference": 0.0929,
    "label_flips": 3,
    "farthest_flip": 0.0482,
    "roc_auc_difference": -0.0001,
    "accuracy_difference": -0.0112,
}


def test_an_accepted_precision_may_be_served_and_f32_always(tmp_path: Path) -> None:
    precisions = {"bf16": {**MEASURED, "accepted": True}}
    artifact = open_artifact(write_artifact(tmp_path / "1", precisions=precisions))
    artifact.check_precision("bf16")
    artifact.check_precision("f32")


def test_a_rejected_precision_is_refused_with_what_was_measured(tmp_path: Path) -> None:
    rejected = {**MEASURED, "accepted": False, "reasons": ["a reason", "another"]}
    artifact = open_artifact(write_artifact(tmp_path / "1", precisions={"bf16": rejected}))
    with pytest.raises(ArtifactError) as refusal:
        artifact.check_precision("bf16")
    for word in ("bf16", "269", "0.0929", "3 labels", "0.0482", "-0.0001", "-0.0112", "a reason; another", "in f32"):
        assert word in str(refusal.value)


@pytest.mark.parametrize(("precision", "how"), [("bf16", "a processor that computes in bf16"), ("int8", "--int8")])
def test_a_precision_that_was_not_measured_is_refused(precision: Precision, how: str, tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "1")
    older = json.loads((folder / METADATA).read_text())
    del older["precisions"]
    (folder / METADATA).write_text(json.dumps(older))
    with pytest.raises(ArtifactError, match=f"not measured in {precision} .* f32 .*{how}"):
        open_artifact(folder).check_precision(precision)


def test_a_tolerance_may_differ_by_output(tmp_path: Path) -> None:
    def infer(images: np.ndarray) -> Outputs:
        outputs = FakeEngine().infer(images)
        return Outputs(outputs.probabilities, outputs.heatmap + np.float32(2 * TOLERANCE), outputs.features)

    loose = {"probabilities": TOLERANCE, "heatmap": 3 * TOLERANCE, "features": TOLERANCE}
    tolerances = {"bf16": loose, "int8": {**loose, "heatmap": TOLERANCE}}
    artifact = open_artifact(write_artifact(tmp_path / "1", tolerances=tolerances))
    artifact.check_golden(infer, "bf16")
    with pytest.raises(ArtifactError, match=r"heatmap by 0\.002; allowed is 0\.001 in int8"):
        artifact.check_golden(infer, "int8")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x93NUMPY"], ids=["empty", "cut off", "one array"])
def test_unreadable_golden_outputs_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"golden\.npz cannot be read"):
        Golden.load(tmp_path / "golden.npz")


def test_golden_outputs_survive_a_file(tmp_path: Path) -> None:
    golden().save(tmp_path / "golden.npz")
    loaded = Golden.load(tmp_path / "golden.npz")
    assert loaded.largest_difference(FakeEngine().infer) == pytest.approx(
        {"probabilities": 0, "heatmap": 0, "features": 0}, abs=1e-6
    )


def test_fake_metadata_is_what_exporters_write(shipped) -> None:
    assert set(metadata()) == set(shipped.metadata.model_dump())
