"""Quantization with NNCF: what stays float32, and that nothing else is needed or told."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import openvino as ov
import pytest

import training.quantize
from app.artifact import GOLDEN, INT8_MODEL
from app.errors import TrainingError
from app.outputs import Golden
from tests.training.fixtures import FinishedRun
from tests.training.tiny import export_tiny

ROOT: Final = Path(__file__).parents[2]

SCRIPT: Final = """
import socket, sys
from pathlib import Path

called = []

def refuse(*arguments, **named):
    called.append(arguments)
    raise OSError("nobody is to be called")

socket.socket.connect = socket.getaddrinfo = refuse
from app.artifact import GOLDEN
from app.outputs import Golden
from training.quantize import quantize

folder, path = map(Path, sys.argv[1:])
quantize(folder, Golden.load(folder / GOLDEN).squares, path)
import nncf.telemetry.wrapper
print(type(nncf.telemetry.wrapper.telemetry).__name__, called, {"tensorflow", "keras", "torch"} & set(sys.modules))
"""


@pytest.fixture(scope="module")
def path(finished: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized network, made by a process of its own."""
    path = tmp_path_factory.mktemp("int8") / INT8_MODEL
    command = [sys.executable, "-c", SCRIPT, finished.artifact.path, path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "MagicMock [] set()\n"  # No statistics of its use are sent; progress is on standard error.
    return path


def is_quantized(node: ov.Node) -> bool:
    """Whether an operation's inputs come through a quantizer."""
    sources = [node.input_value(index).get_node() for index in range(node.get_input_size())]
    return any(source.get_type_name() == "FakeQuantize" for source in sources)


def test_the_backbone_is_quantized_and_the_head_is_not(path: Path) -> None:
    operations = ov.Core().read_model(path).get_ordered_ops()
    convolutions = [node for node in operations if node.get_type_name() == "Convolution"]
    assert len(convolutions) == 2
    assert all(map(is_quantized, convolutions))
    head = [node for node in operations if node.get_type_name() in ("MatMul", "Einsum", "ReduceMean", "Softmax")]
    assert len(head) > 5
    assert not any(map(is_quantized, head))


def test_weights_are_stored_in_eight_bits(path: Path) -> None:
    constants = [node for node in ov.Core().read_model(path).get_ordered_ops() if node.get_type_name() == "Constant"]
    convolved = [node for node in constants if len(node.get_output_shape(0)) == 4 and node.data.size > 100]
    assert {node.get_element_type().get_type_name() for node in convolved} == {"i8"}


def test_without_nncf_nothing_is_begun_and_the_extra_is_named(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_backbone: None
) -> None:
    monkeypatch.setattr(training.quantize, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"'nncf', which is not installed\. Install the extra 'quantize', or"):
        export_tiny(finished.run, finished.manifest, tmp_path / "models", int8=True)
    assert not (tmp_path / "models").exists()
    squares = Golden.load(finished.artifact.path / GOLDEN).squares
    with pytest.raises(TrainingError, match="extra 'quantize'"):
        training.quantize.quantize(finished.artifact.path, squares, tmp_path / "model.xml")
