"""The command installs alone: it must need nothing of the service's."""

import subprocess
import sys
import tomllib

from tests.app.server import ROOT

_LIST = "import sys, app.client.intake.cli; print(*sys.modules)"


def test_the_command_loads_nothing_of_the_service() -> None:
    loaded = subprocess.run([sys.executable, "-c", _LIST], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = loaded.stdout.split()
    others = {name.partition(".")[0] for name in modules} & {
        *("fastapi", "starlette", "uvicorn", "pydantic", "numpy", "PIL", "pydicom", "openvino", "prometheus_client")
    }
    assert others == set()
    assert [name for name in modules if name.startswith("app.") and not name.startswith("app.client")] == []


def test_the_command_is_installed_under_its_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["cxr-intake"] == "app.client.intake.cli:main"
    assert {requirement.partition(">")[0] for requirement in project["dependencies"]} == {"httpx", "rich", "typer"}
