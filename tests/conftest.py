"""What all tests share: the shipped model, and a running service with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.artifact import Artifact, open_artifact
from app.settings import SHIPPED_MODEL
from tests.app.server import Server


@pytest.fixture(scope="session")
def shipped() -> Artifact:
    """The model that the repository ships."""
    return open_artifact(SHIPPED_MODEL)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled models, so that only the first start of a service compiles."""
    return tmp_path_factory.mktemp("compiled-models")


@pytest.fixture(scope="session")
def server(cache_dir: Path) -> Iterator[Server]:
    """A service with the default settings, shared: a test must not depend on what others sent it."""
    with Server(cache_dir=cache_dir) as server:
        yield server
