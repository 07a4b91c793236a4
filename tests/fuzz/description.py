"""The service against its own OpenAPI description: schemathesis makes requests of it, right and wrong ones."""

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

from tests.app.server import ROOT

_CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")
_COMMAND: Final = Path(sysconfig.get_path("scripts"), "schemathesis")


def check_description(url: str, folder: Path, *, examples: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Run schemathesis on a service, with all of its checks.

    Args:
        url: Where it listens.
        folder: Where schemathesis may write.
        examples: Most requests an operation, of those that are made up.
        seed: Of the requests.

    Returns:
        Its exit code, 1 with findings, and its report.
    """
    options = ["--checks", "all", "--workers", "1", "--max-examples", str(examples), "--seed", str(seed)]
    command = [_COMMAND, "--config-file", _CONFIGURATION, "run", f"{url}/openapi.json", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
