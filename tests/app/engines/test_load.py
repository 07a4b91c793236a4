"""Which precision an engine is loaded in, and that both of its ways, alone and in batches, are held to the golden."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from app.artifact import Artifact, open_artifact
from app.engines import load_engine
from app.errors import ArtifactError, EngineUnavailable
from app.outputs import Outputs
from tests.app.engines.tiny import accepted, write_tiny
from tests.app.fakes import TOLERANCE, FakeEngine, write_artifact

TOLERANCES = {"f32": TOLERANCE, "bf16": TOLERANCE, "int8": TOLERANCE}
BF16 = {"bf16": accepted()}
BF16_REFUSED = {"bf16": accepted(accepted=False, reasons=["Labels flip far from the threshold."])}


class Loaded(FakeEngine):
    """Stands for an engine's class, and keeps what it was loaded with."""

    def __init__(self, artifact: Artifact, **options: Any) -> None:
        self.options = options


class MixesUpBatches(Loaded):
    def infer(self, images: NDArray[np.float32]) -> Outputs:
        return super().infer(np.roll(images, 1, axis=0))


class RepeatsTheFirst(Loaded):
    def infer(self, images: NDArray[np.float32]) -> Outputs:
        return super().infer(np.broadcast_to(images[:1], images.shape))


@pytest.fixture(autouse=True)
def made_up_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engines.openvino.OpenVinoEngine", Loaded)
    tensorflow = SimpleNamespace(TensorFlowEngine=Loaded)  # without TensorFlow
    monkeypatch.setitem(sys.modules, "app.engines.tensorflow", tensorflow)


def artifact(folder: Path, **changes: Any) -> Artifact:
    return open_artifact(write_artifact(folder / "1", tolerances=TOLERANCES, **changes))


@pytest.mark.parametrize("has_amx", [False, True])
@pytest.mark.parametrize("precisions", [{}, BF16, BF16_REFUSED], ids=["no record", "accepted", "refused"])
def test_auto_is_bf16_only_with_the_hardware_and_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precisions: dict[str, Any], has_amx: bool
) -> None:
    monkeypatch.setattr("app.engines.has_amx_bf16", lambda: has_amx)
    engine = load_engine("openvino", artifact(tmp_path, precisions=precisions), precision="auto")
    assert isinstance(engine, Loaded)
    assert engine.options["precision"] == ("bf16" if has_amx and precisions == BF16 else "f32")


def test_auto_is_f32_in_an_engine_that_has_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engines.has_amx_bf16", lambda: True)
    engine = load_engine("tensorflow", artifact(tmp_path, precisions=BF16), precision="auto")
    assert isinstance(engine, Loaded)
    assert "precision" not in engine.options


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_tensorflow_refuses_another_precision_than_its_own(tmp_path: Path, precision: Any) -> None:
    allowing = artifact(tmp_path, precisions={precision: accepted()})
    with pytest.raises(EngineUnavailable, match=f"'tensorflow' computes in f32; asked for was {precision}"):
        load_engine("tensorflow", allowing, precision=precision)


@pytest.mark.parametrize(
    ("precisions", "words"),
    [({}, "not measured in bf16.*export it again"), (BF16_REFUSED, "may not be served in bf16.*Labels flip far.*f32")],
    ids=["no record", "refused"],
)
def test_precision_that_the_record_does_not_allow_is_refused(
    tmp_path: Path, precisions: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArtifactError, match=words):
        load_engine("openvino", artifact(tmp_path, precisions=precisions), precision="bf16")


def test_precision_that_the_processor_lacks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real engine
    properties = {"OPTIMIZATION_CAPABILITIES": ["FP32", "INT8"], "FULL_DEVICE_NAME": "Some Processor"}
    monkeypatch.setattr(ov.Core, "get_property", lambda _, device, name: properties[name])
    with pytest.raises(EngineUnavailable, match=r"bf16 was asked for.*Some Processor.*auto or f32"):
        load_engine("openvino", artifact(tmp_path, precisions=BF16), precision="bf16")


@pytest.mark.parametrize("engine", [MixesUpBatches, RepeatsTheFirst])
def test_engine_that_is_right_alone_and_wrong_in_batches_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: type[Loaded]
) -> None:
    monkeypatch.setattr("app.engines.openvino.OpenVinoEngine", engine)
    load_engine("openvino", artifact(tmp_path), batch_size=1)
    with pytest.raises(ArtifactError, match="does not reproduce"):
        load_engine("openvino", open_artifact(tmp_path / "1"), batch_size=4)


@pytest.mark.parametrize(("threads", "streams", "expected"), [(1, 0, 1), (2, 0, 1), (8, 0, 2), (8, 8, 8), (2, 2, 2)])
def test_streams_follow_from_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, streams: int, expected: int
) -> None:
    monkeypatch.undo()
    engine = load_engine(
        "openvino", write_tiny(tmp_path / "1"), precision="int8", threads=threads, streams=streams, batch_size=2
    )
    assert engine.streams == expected
    assert (engine.batch_size, engine.precision) == (2, "int8")


def test_threads_follow_from_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("app.engines.openvino.usable_cores", lambda: 3)
    engine = load_engine("openvino", write_tiny(tmp_path / "1"), precision="int8")
    assert "3 threads, 1 streams" in engine.description


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_any_number_of_images_is_answered_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.undo()
    engine = load_engine("openvino", write_tiny(tmp_path / "1"), precision="int8", threads=2, batch_size=4)
    images = np.random.default_rng(0).random((count, 224, 224, 3), np.float32)
    images *= np.linspace(0.1, 1, count, dtype=np.float32).reshape(-1, 1, 1, 1)  # each of its own brightness
    images[..., 1:] = images[..., :1]
    expected = FakeEngine().infer(images)
    outputs = engine.infer(images)
    np.testing.assert_allclose(outputs.probabilities, expected.probabilities, rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs.heatmap, expected.heatmap, rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs.features, expected.features, rtol=0, atol=1e-3)
