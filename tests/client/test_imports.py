"""The client can be installed without the service: it imports no more than it says."""

import ast
import sys
from pathlib import Path

import pytest

import app.client

FOLDER = Path(app.client.__file__).parent
ALLOWED = {"httpx", "rich", "typer"} | sys.stdlib_module_names


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not looked into here"
            names.add(str(node.module))
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports_the_standard_library_and_its_three_packages(path: Path) -> None:
    own = {name for name in imported(path) if name == "app.client" or name.startswith("app.client.")}
    assert {name.partition(".")[0] for name in imported(path) - own} - ALLOWED == set()
