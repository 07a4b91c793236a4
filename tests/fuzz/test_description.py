"""The service holds to its own OpenAPI description; ``make fuzz`` tries more."""

import re
from pathlib import Path

from tests.app.server import Server
from tests.fuzz.description import check_description


def test_answers_are_as_described(server: Server, tmp_path: Path) -> None:
    run = check_description(server.url, tmp_path, examples=10, seed=6)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"Selected: (\d+)/\1\n +Tested: \1\n", run.stdout), run.stdout
