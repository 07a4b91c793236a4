"""A service whose model folder is replaced, overwritten, cut off and taken away under it answers as before."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifact import Artifact
from tests.app.server import Server
from tests.images import encode, radiograph

IMAGES = [encode(radiograph(seed=seed), "PNG") for seed in range(12)]


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def overwrite(folder: Path) -> None:
    for path in files_of(folder):
        size = path.stat().st_size
        with path.open("r+b") as file:  # the same file on the disk, which may be mapped
            file.write(b"\xa5" * size)


def cut_off(folder: Path) -> None:
    for path in files_of(folder):
        os.truncate(path, 1)


def replace(folder: Path) -> None:
    other = shutil.copytree(folder, folder.with_name("other"))
    overwrite(other)
    folder.rename(folder.with_name("replaced"))
    other.rename(folder)


CHANGES: tuple[Callable[[Path], None], ...] = (replace, overwrite, cut_off, shutil.rmtree)


def check_answers(server: Server, expected: list[dict[str, Any]]) -> None:
    """Check the answers to images alone and in batches."""
    alone = [server.client.post("/predict?explain=1", content=image).json() for image in IMAGES[:3]]
    together = [answer.json() for answer in server.post_together(IMAGES)]
    for ours, theirs in zip([*alone, *together], [*expected[:3], *expected], strict=True):
        assert (ours["label"], ours["model"]) == (theirs["label"], theirs["model"])
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-5)
        np.testing.assert_allclose(ours["heatmap"], theirs["heatmap"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_served_model_does_not_depend_on_its_folder(
    shipped: Artifact, server: Server, cache_dir: Path, tmp_path: Path, start: str
) -> None:
    folder = shutil.copytree(shipped.path, tmp_path / shipped.path.name)
    expected = [server.client.post("/predict?explain=1", content=image).json() for image in IMAGES]
    model = server.client.get("/model").json()
    settings = {"cache_dir": cache_dir} if start == "warm" else {}
    with Server(model=folder, **settings) as own:
        assert ("no compilation cache" in own.client.get("/model").json()["engine"]) == (start == "cold")
        check_answers(own, expected)
        for change in CHANGES:
            change(folder)
            check_answers(own, expected)
        assert own.client.get("/readyz").status_code == 200
        assert {**own.client.get("/model").json(), "engine": None} == {**model, "engine": None}
