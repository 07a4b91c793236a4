"""Starting and stopping ``python -m app``: exit codes, and words that name what is wrong."""

import json
import os
import shutil
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from app.artifact import GOLDEN, METADATA, Artifact, file_digests
from app.outputs import Golden, Outputs
from tests.app.server import NO_TENSORFLOW, Server, refused

WEIGHTS = "variables/variables.data-00000-of-00001"


def check_refusal(code: int, *words: str, **settings: object) -> None:
    end = refused(**settings)
    assert end.returncode == code, end.stderr
    assert end.stdout == ""
    assert "Traceback" not in end.stderr
    message = end.stderr[end.stderr.index("error: ") :]
    for word in words:
        assert word in message


@pytest.fixture
def copy(shipped: Artifact, tmp_path: Path) -> Path:
    """A copy of the shipped model whose files are links: to be replaced, never written to."""
    folder = tmp_path / "copy" / str(shipped.metadata.version)
    shutil.copytree(shipped.path.resolve(), folder, copy_function=os.symlink)
    return folder


def replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    check_refusal(
        2, "CXR_PORT", "'abc'", "CXR_ENGINE", "'nonsense'", "'openvino' or 'tensorflow'", port="abc", engine="nonsense"
    )


def test_missing_model_is_named(tmp_path: Path) -> None:
    check_refusal(1, str(tmp_path / "none"), "CXR_MODEL", model=tmp_path / "none")


def test_damaged_weights_are_named(copy: Path) -> None:
    weights = bytearray((copy / WEIGHTS).read_bytes())
    weights[len(weights) // 2] ^= 1
    replace(copy / WEIGHTS, weights)
    check_refusal(1, str(copy / WEIGHTS), "damaged", model=copy)


def test_model_with_swapped_labels_is_refused(copy: Path) -> None:
    """Its files agree with each other; what it answers does not agree with what it should."""
    golden = Golden.load(copy / GOLDEN)
    outputs = golden.outputs
    swapped = Outputs(np.ascontiguousarray(outputs.probabilities[:, ::-1]), outputs.heatmap, outputs.features)
    (copy / GOLDEN).unlink()
    Golden(golden.squares, swapped).save(copy / GOLDEN)
    metadata = json.loads((copy / METADATA).read_text())
    replace(copy / METADATA, json.dumps({**metadata, "files": file_digests(copy)}).encode())
    check_refusal(1, "does not reproduce", GOLDEN, "probabilities", str(copy.parent), model=copy.parent)


def test_graph_that_is_none_is_refused(copy: Path) -> None:
    replace(copy / "saved_model.pb", b"no graph")
    metadata = json.loads((copy / METADATA).read_text())
    replace(copy / METADATA, json.dumps({**metadata, "files": file_digests(copy)}).encode())
    check_refusal(1, "cannot read the model", str(copy), model=copy)


def test_missing_tensorflow_is_named() -> None:
    check_refusal(1, "'tensorflow'", "not installed", "CXR_ENGINE", prelude=NO_TENSORFLOW, engine="tensorflow")


def test_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        check_refusal(1, f"CXR_PORT {port}", "in use", port=port)


def test_interrupt_does_not_wait_for_a_caller_that_never_ends(cache_dir: Path) -> None:
    with Server(cache_dir=cache_dir) as server, socket.create_connection(server.address, timeout=60) as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Length: 100\r\n\r\nhalf")
        while server.metric("cxr_requests_in_progress") != 1:
            pass
        assert server.stop(signal.SIGINT) == 0


FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (%d, %d))"


def test_too_many_connections_for_the_system_are_named() -> None:
    check_refusal(2, "CXR_MAX_CONNECTIONS 1024", "at most 300", prelude=FEW_FILES % (500, 500))


def test_more_files_are_opened_where_the_system_lets_it(cache_dir: Path) -> None:
    with Server(FEW_FILES % (256, 2000), cache_dir=cache_dir) as server, ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(server.address, timeout=60)) for _ in range(900)]
        connections[0].sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in connections[0].recv(1000)
        assert server.client.get("/livez").status_code == 200
