"""A service whose model folder is overwritten, cut off and taken away under it answers as before."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.artifact import Artifact
from tests.app.server import Server
from tests.images import encode, radiograph

IMAGES = [encode(radiograph(seed=seed), "PNG") for seed in range(3)]


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


CHANGES: tuple[Callable[[Path], None], ...] = (overwrite, cut_off, shutil.rmtree)


def answers(server: Server) -> list[object]:
    """All that is served of the model, alone and in a batch."""
    predictions = [server.client.post("/predict?explain=1", content=image).json() for image in IMAGES]
    kept = ("label", "probabilities", "heatmap", "model")
    model = server.client.get("/model").json()
    return [*({name: answer[name] for name in kept} for answer in predictions), model["metadata"], model["card"]]


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_served_model_does_not_depend_on_its_folder(
    shipped: Artifact, server: Server, cache_dir: Path, tmp_path: Path, start: str
) -> None:
    folder = shutil.copytree(shipped.path, tmp_path / "nasnetmobile" / "1")
    expected = answers(server)
    settings = {"cache_dir": cache_dir} if start == "warm" else {}
    with Server(model=folder, **settings) as own:
        description = own.client.get("/model").json()["engine"]
        assert ("no compilation cache" in description) == (start == "cold")
        assert answers(own) == expected
        for change in CHANGES:
            change(folder)
            assert answers(own) == expected
        assert own.client.get("/readyz").status_code == 200
