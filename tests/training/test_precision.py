"""What lower precisions may change, and what an export keeps of them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

import training.precision
from app.artifact import GOLDEN, INT8_MODEL, METADATA, Artifact, PrecisionRecord, open_artifact
from app.engines import load_engine
from app.errors import ArtifactError
from app.imaging import to_network_input
from app.outputs import Golden, Outputs
from tests.training.fixtures import FinishedRun
from tests.training.test_golden import brightness
from tests.training.tiny import TINY, export_tiny
from training.backbones import BACKBONES
from training.card_results import precision_table
from training.golden import make_golden
from training.precision import Reference, compare, computes_bf16, golden_tolerance, judge
from training.quantize import quantize
from training.splits import split
from training.squares import load_squares

needs_bf16: Final = pytest.mark.skipif(not computes_bf16(), reason="this processor does not compute in bf16")


def measured(**changes: Any) -> PrecisionRecord:
    harmless: dict[str, Any] = {
        "images": 200,
        "largest_difference": 0.001,
        "label_flips": 0,
        "roc_auc_difference": 0.0,
        "accuracy_difference": 0.0,
        "accepted": False,
    }
    return PrecisionRecord(**{**harmless, **changes})


@pytest.mark.parametrize(
    "record",
    [
        measured(),
        measured(largest_difference=0.01),
        measured(label_flips=3, farthest_flip=0.01),
        measured(roc_auc_difference=0.001),
        measured(roc_auc_difference=-0.001),
        measured(accuracy_difference=-0.1),
    ],
    ids=["nothing", "difference", "flips at the threshold", "AUC up", "AUC down", "accuracy by flips at the threshold"],
)
def test_bf16_is_accepted_up_to_its_limits(record: PrecisionRecord) -> None:
    assert judge("bf16", record) == ()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (measured(largest_difference=0.0101), "a probability differs by 0.0101, more than 0.01"),
        (measured(label_flips=1, farthest_flip=0.0101), "a label flips 0.0101 from the threshold, farther than 0.01"),
        (measured(roc_auc_difference=0.0011), "ROC AUC moves by +0.0011, more than 0.001"),
        (measured(roc_auc_difference=-0.0011), "ROC AUC moves by -0.0011, more than 0.001"),
    ],
    ids=["difference", "flip far from the threshold", "AUC up", "AUC down"],
)
def test_bf16_is_rejected_beyond_a_limit(record: PrecisionRecord, reason: str) -> None:
    assert judge("bf16", record) == (reason,)


def test_every_reason_is_named() -> None:
    record = measured(largest_difference=0.1, label_flips=1, farthest_flip=0.05, roc_auc_difference=0.1)
    assert len(judge("bf16", record)) == 3


@pytest.mark.parametrize(("moved", "accepted"), [(0.0049, True), (-0.0049, True), (0.005, False), (-0.005, False)])
def test_int8_is_judged_by_accuracy_alone(moved: float, accepted: bool) -> None:
    record = measured(largest_difference=0.3, label_flips=9, farthest_flip=0.2, accuracy_difference=moved)
    assert (judge("int8", record) == ()) == accepted


def reference(probabilities: list[float], labels: list[int]) -> Reference:
    squares = np.zeros((len(labels), 224, 224), np.uint8)
    return Reference(squares, np.array(labels), np.array(probabilities, np.float32), threshold=0.5)


def test_a_comparison_measures_what_changed() -> None:
    before = reference([0.125, 0.375, 0.625, 0.875], [0, 1, 1, 1])
    record = compare(before, np.array([0.25, 0.5, 0.25, 0.875], np.float32))
    assert record.images == 4
    assert record.largest_difference == pytest.approx(0.375)
    assert (record.label_flips, record.farthest_flip) == (2, 0.125)
    assert record.roc_auc_difference == pytest.approx(-0.5 / 3)
    assert record.accuracy_difference == 0


def test_no_flip_has_no_distance() -> None:
    before = reference([0.125, 0.875], [0, 1])
    assert compare(before, before.probabilities) == measured(images=2, largest_difference=0)


def test_an_answer_that_is_no_number_is_the_worst() -> None:
    before = reference([0.125, 0.875], [0, 1])
    record = compare(before, np.array([np.nan, np.nan], np.float32))
    assert (record.largest_difference, record.label_flips, record.accuracy_difference) == (0.875, 2, -1)
    assert judge("bf16", record)
    assert judge("int8", record)


def off_by(difference: float) -> Callable[[NDArray[np.float32]], Outputs]:
    """Make a model that answers as ``brightness(4)`` and that much more evenly."""
    infer = brightness(4)

    def wrong(images: NDArray[np.float32]) -> Outputs:
        outputs = infer(images)
        evened = outputs.probabilities - np.float32(difference) * np.sign(outputs.probabilities - 0.5)
        return Outputs(evened, outputs.heatmap, outputs.features)

    return wrong


def test_the_golden_tolerance_follows_what_was_measured() -> None:
    tolerance, reasons = golden_tolerance(make_golden(brightness(4)), off_by(0.004))
    assert reasons == ()
    assert tolerance == pytest.approx({"probabilities": 0.02, "heatmap": 0.01, "features": 0.01}, abs=1e-6)


def test_a_golden_tolerance_that_hides_a_mistake_is_no_tolerance() -> None:
    _, reasons = golden_tolerance(make_golden(brightness(4)), off_by(0.1))
    assert len(reasons) == 1
    assert "differ by 0.1: with a tolerance for that swapped labels would not show" in reasons[0]


def test_golden_outputs_that_are_no_numbers_are_refused() -> None:
    _, reasons = golden_tolerance(make_golden(brightness(4)), lambda images: brightness(4)(images * np.nan))
    assert reasons == ("golden inputs are answered by what is no number",)


@needs_bf16
def test_an_export_measures_bf16_and_the_engine_reproduces_the_golden_outputs_in_it(finished: FinishedRun) -> None:
    artifact = finished.artifact
    record = artifact.metadata.precisions["bf16"]
    assert record.images == len(split(finished.manifest, finished.config.split_seed).validation)
    assert 0 < record.largest_difference <= 0.01
    assert record.accepted
    artifact.check_precision("bf16")
    in_bf16 = load_engine("openvino", artifact, precision="bf16", batch_size=8)
    images = to_network_input(Golden.load(artifact.path / GOLDEN).squares)
    assert (in_bf16.infer(images).features != load_engine("openvino", artifact).infer(images).features).any()
    assert f"| bf16 | {record.largest_difference:.4f} | 0 | none |" in artifact.card


def test_where_the_processor_does_not_compute_in_bf16_there_is_no_record_and_the_command_says_so(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    tiny_backbone: None,
) -> None:  # fmt: skip
    monkeypatch.setattr(training.precision, "computes_bf16", lambda: False)
    with caplog.at_level(logging.WARNING, "training.precision"):
        artifact = export_tiny(finished.copy_run(tmp_path), finished.manifest, tmp_path / "models")
    assert "bf16 was not measured: this processor does not compute in it" in caplog.text
    assert artifact.metadata.precisions == {}
    assert artifact.metadata.tolerances.keys() == {"f32"}
    assert "No precision but f32 was measured" in artifact.card
    with pytest.raises(ArtifactError, match="not measured in bf16"):
        artifact.check_precision("bf16")


@pytest.fixture(scope="module")
def quantized(finished: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, list[NDArray]]:
    """An export with int8, and what it was calibrated on."""
    calibrated_on = []

    def watched(folder: Path, squares: NDArray[np.uint8], path: Path) -> None:
        calibrated_on.append(squares)
        quantize(folder, squares, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.precision, "quantize", watched)
        patch.setitem(BACKBONES, "NASNetMobile", TINY)
        folder = tmp_path_factory.mktemp("quantized")
        run, models = finished.copy_run(folder), folder / "models"
        return export_tiny(run, finished.manifest, models, int8=True), calibrated_on


def test_an_export_keeps_an_int8_network_that_is_as_accurate(
    quantized: tuple[Artifact, list[NDArray]], finished: FinishedRun
) -> None:
    artifact = open_artifact(quantized[0].path)
    record = artifact.metadata.precisions["int8"]
    assert record.accepted, record.reasons
    assert abs(record.accuracy_difference) < 0.005
    assert {INT8_MODEL, INT8_MODEL.replace(".xml", ".bin")} <= artifact.metadata.files.keys()
    assert f"| int8 | {record.largest_difference:.4f} |" in precision_table(artifact.metadata)
    artifact.check_precision("int8")
    images = to_network_input(load_squares(finished.manifest.root, finished.manifest.records[:8], preprocessing=1))
    f32, int8 = (
        load_engine("openvino", artifact, precision=name, batch_size=8).infer(images) for name in ("f32", "int8")
    )
    np.testing.assert_allclose(int8.probabilities, f32.probabilities, atol=0.05)
    assert (int8.features != f32.features).any()
    heatmaps = zip(f32.heatmap, int8.heatmap, strict=True)
    assert min(np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in heatmaps) > 0.9


def test_int8_is_calibrated_on_training_images_alone(
    quantized: tuple[Artifact, list[NDArray]], finished: FinishedRun
) -> None:
    train = split(finished.manifest, finished.config.split_seed).train
    np.testing.assert_array_equal(quantized[1], [load_squares(finished.manifest.root, train, preprocessing=1)])


def test_a_rejected_int8_network_is_reported_and_not_kept(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_backbone: None
) -> None:
    monkeypatch.setattr(training.precision, "ACCURACY_DIFFERENCE", 0.0)
    artifact = export_tiny(finished.copy_run(tmp_path), finished.manifest, tmp_path / "models", int8=True)
    assert not (artifact.path / INT8_MODEL).parent.exists()
    record = artifact.metadata.precisions["int8"]
    assert not record.accepted
    assert "int8" not in artifact.metadata.tolerances
    assert f"no: {'; '.join(record.reasons)}" in artifact.card
    with pytest.raises(ArtifactError, match=r"may not be served in int8: on 8 validation images"):
        artifact.check_precision("int8")
    assert (artifact.path / METADATA).exists()
