"""The input gate at the service's boundary: one that is fitted here, on made-up radiographs, to the shipped network."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from typer.testing import CliRunner

from app.artifact import GATE, METADATA, Artifact, file_digests, open_artifact
from app.client.intake.cli import app as intake_app
from app.engines import load_engine
from app.gate import Gate
from app.imaging import to_square
from tests.app.answers import check
from tests.app.engines.tiny import without_gate
from tests.app.server import Server, refused
from tests.images import dicom, encode, radiograph
from training.gate import fit_gate, gate_record

UPRIGHT: Final = radiograph(320, 256, seed=900)


def varied(seed: int) -> np.ndarray:
    """Draw a radiograph of some exposure, with a mark, a shadow and noise: no two hospitals' are alike."""
    random = np.random.default_rng([seed, 7])
    grey = radiograph(*[(256, 200), (256, 256), (320, 256)][seed % 3], seed=seed).astype(float)
    grey = random.uniform(0.7, 1.2) * (grey - 128) + 128 + random.uniform(-20, 20)
    for level in random.uniform(-60, 60, 3):
        y, x = random.integers(0, grey.shape)
        grey[y : y + 60, x : x + 60] += level
    grey += random.normal(0, random.uniform(0, 8), grey.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)


def squares(seeds: range, version: int) -> np.ndarray:
    return np.stack([to_square(varied(seed), version=version) for seed in seeds])


def put(gate: Gate, folder: Path, record: object = None) -> None:
    """Put a gate into an artifact's folder, as an export does."""
    (folder / GATE).write_bytes(gate.to_bytes())
    described = json.loads((folder / METADATA).read_text())
    if record:
        described["gate"] = record.model_dump()
    (folder / METADATA).write_text(json.dumps({**described, "files": file_digests(folder)}))


@pytest.fixture(scope="module")
def gate(shipped: Artifact) -> Gate:
    infer = load_engine("openvino", shipped, batch_size=8).infer
    version = shipped.metadata.preprocessing_version
    return fit_gate(infer, squares(range(60), version), squares(range(100, 130), version))


@pytest.fixture(scope="module")
def gated(shipped: Artifact, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network with that gate."""
    folder = shutil.copytree(shipped.path, tmp_path_factory.mktemp("gated") / "1")
    infer = load_engine("openvino", shipped, batch_size=8).infer
    few = squares(range(100, 104), shipped.metadata.preprocessing_version)
    put(gate, folder, gate_record(gate, infer, few, {"validation": few, "test": few}))
    return folder


@pytest.fixture(scope="module")
def refusing(gated: Path, cache_dir: Path) -> Iterator[Server]:
    with Server(model=gated, cache_dir=cache_dir, input_gate="refuse") as server:
        yield server


def photograph() -> np.ndarray:
    """Draw coloured discs that cover each other, uint8 (300, 400, 3)."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[:300, :400]
    image = np.zeros((300, 400, 3), np.uint8)
    for _ in range(150):
        inside = np.hypot(y - random.uniform(0, 300), x - random.uniform(0, 400)) < random.uniform(8, 60)
        image[inside] = random.integers(0, 256, 3)
    return image


def with_heatmap(grey: np.ndarray) -> np.ndarray:
    """Lay red over the middle of a radiograph, of the same luminance where it can be."""
    image = np.stack([grey] * 3, axis=-1).astype(int)
    middle = image[60:260, 40:216]
    middle += np.array([90, -40, -50])
    return np.clip(image, 0, 255).astype(np.uint8)


REFUSED: Final = {
    "blank": (np.full((300, 300), 128, np.uint8), "blank_image", "one grey level"),
    "inverted": (255 - UPRIGHT, "inverted_image", "bones must be white"),
    "turned left": (np.rot90(UPRIGHT), "rotated_image", "by 90 degrees clockwise"),
    "upside down": (np.rot90(UPRIGHT, 2), "rotated_image", "by 180 degrees"),
    "turned right": (np.rot90(UPRIGHT, 3), "rotated_image", "by 90 degrees counterclockwise"),
    "inverted and turned": (255 - np.rot90(UPRIGHT), "inverted_image", "turn it by 90 degrees clockwise"),
    "photograph": (photograph(), "not_a_chest_radiograph", "unlike"),
    "under a heatmap": (with_heatmap(UPRIGHT), "colour_image", "coloured"),
}


def png(pixels: np.ndarray) -> bytes:
    return encode(np.ascontiguousarray(pixels), "PNG")


@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize("kind", REFUSED)
def test_other_images_are_refused_with_the_reason(kind: str, path: str, refusing: Server) -> None:
    pixels, code, words = REFUSED[kind]
    before = refusing.metric("cxr_rejected_total", code=code), refusing.metric("cxr_gate_findings_total", code=code)
    answer = refusing.client.post(path, content=png(pixels))
    measured = code == "not_a_chest_radiograph"
    check(answer, 422, code, (words,), members={"distance", "limit"} if measured else set())
    if measured:
        problem = answer.json()
        assert problem["distance"] > problem["limit"] > 0
        assert f"{problem['distance']:.2f}" in problem["detail"]
    after = refusing.metric("cxr_rejected_total", code=code), refusing.metric("cxr_gate_findings_total", code=code)
    assert after == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("seed", range(900, 904))
def test_an_upright_radiograph_is_answered(seed: int, refusing: Server) -> None:
    grey = radiograph(320, 256, seed)
    coloured_mark = np.stack([grey] * 3, axis=-1)
    coloured_mark[:20, :40] = (255, 0, 0)
    for data in (png(grey), encode(grey, "JPEG", quality=90), png(coloured_mark), dicom(grey)):
        answer = refusing.client.post("/predict", content=data)
        assert answer.status_code == 200, answer.text
        assert answer.json()["warnings"] == []


def test_a_dicom_object_of_the_wrong_photometric_interpretation_is_inverted(refusing: Server) -> None:
    data = dicom(UPRIGHT, photometric_interpretation="MONOCHROME1")
    check(refusing.client.post("/predict", content=data), 422, "inverted_image", ("Photometric Interpretation",))


def test_warn_answers_with_a_warning_of_the_same_code(gated: Path, cache_dir: Path) -> None:
    with Server(model=gated, cache_dir=cache_dir, input_gate="warn") as server:
        for pixels, code, words in REFUSED.values():
            answer = server.client.post("/predict", content=png(pixels))
            assert answer.status_code == 200, answer.text
            (warning,) = answer.json()["warnings"]
            assert warning["code"] == code
            assert words in warning["message"]
            assert "do not rely" in warning["message"]
        assert server.client.post("/predict", content=png(UPRIGHT)).json()["warnings"] == []
        assert server.client.post("/explain", content=png(photograph())).status_code == 200
        assert server.metric("cxr_gate_findings_total") == len(REFUSED) + 1
        assert server.client.get("/model").json()["input_gate"] == "warn"


def test_off_looks_for_nothing(gated: Path, cache_dir: Path) -> None:
    with Server(model=gated, cache_dir=cache_dir, input_gate="off") as server:
        answer = server.client.post("/predict", content=png(photograph()))
        assert (answer.status_code, answer.json()["warnings"]) == (200, [])
        assert server.client.get("/model").json()["input_gate"] == "off"


def test_the_model_tells_of_its_gate(refusing: Server) -> None:
    model = refusing.client.get("/model").json()
    assert model["input_gate"] == "refuse"
    assert model["metadata"]["gate"]["test"]["upright"]["images"] == 4
    assert GATE in model["metadata"]["files"]
    assert refusing.wait_for_log("ready")["input_gate"] == "refuse"


@pytest.fixture(scope="module")
def as_shipped(cache_dir: Path) -> Iterator[Server]:
    """The model and the gate that the repository ships."""
    with Server(cache_dir=cache_dir, input_gate="refuse") as server:
        yield server


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_the_shipped_model_refuses_a_photograph(name: str, as_shipped: Server) -> None:
    answer = as_shipped.client.post("/predict", content=files("sklearn.datasets.images").joinpath(name).read_bytes())
    check(answer, 422, "not_a_chest_radiograph", ("unlike",), members={"distance", "limit"})


def test_a_model_without_a_gate_is_served_and_says_so(gated: Path, cache_dir: Path, tmp_path: Path) -> None:
    folder = without_gate(shutil.copytree(gated, tmp_path / "1"))
    with Server(model=folder, cache_dir=cache_dir, input_gate="refuse") as server:
        assert server.client.post("/predict", content=png(photograph())).status_code == 200
        assert server.client.get("/model").json()["input_gate"] == "none"
        assert server.wait_for_log("no input gate")["level"] == "WARNING"


DAMAGE: Final[dict[str, Callable[[Gate], bytes]]] = {
    "no file of arrays": lambda _: b"PK\x03\x04 cut off",
    "another network's": lambda gate: replace(gate, feature_mean=gate.feature_mean[1:]).to_bytes(),
    "no numbers": lambda gate: replace(gate, distance_limit=float("nan")).to_bytes(),
    "wrong shape": lambda gate: replace(gate, pose_weights=gate.pose_weights[1:]).to_bytes(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_gate_is_refused_at_start(
    damage: str, gate: Gate, gated: Path, cache_dir: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(gated, tmp_path / "1")
    (folder / GATE).write_bytes(DAMAGE[damage](gate))
    described = json.loads((folder / METADATA).read_text())
    (folder / METADATA).write_text(json.dumps({**described, "files": file_digests(folder)}))
    ended = refused(model=folder, cache_dir=cache_dir, input_gate="refuse")
    assert ended.returncode == 1
    assert "cannot be read as an input gate" in ended.stderr
    assert "CXR_INPUT_GATE=off" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_gate_that_changed_since_the_folder_was_verified_is_refused(gate: Gate, gated: Path, tmp_path: Path) -> None:
    artifact = open_artifact(shutil.copytree(gated, tmp_path / "1"))
    assert Gate.load(artifact)
    (artifact.path / GATE).write_bytes(replace(gate, distance_limit=99.0).to_bytes())
    with pytest.raises(Exception, match="not the one that was exported"):
        Gate.load(artifact)


def test_cxr_intake_quarantines_what_the_gate_refuses(refusing: Server, tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "cat.png").write_bytes(png(photograph()))
    (tmp_path / "exports" / "chest.png").write_bytes(png(UPRIGHT))
    options = ["--url", refusing.url, "--ledger", str(tmp_path / "ledger"), "--quarantine", str(tmp_path / "refused")]
    result = CliRunner().invoke(intake_app, [str(tmp_path / "exports"), *options])
    assert result.exit_code == 1, result.stderr
    quarantined = [path for path in (tmp_path / "refused").rglob("*") if path.is_file()]
    assert any(path.name.startswith("cat") for path in quarantined)
    assert not any(path.name.startswith("chest") for path in quarantined)
    assert any("not_a_chest_radiograph" in path.read_text(errors="ignore") for path in quarantined)
