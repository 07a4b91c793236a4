"""In a network of its own nothing leaves the machine: OpenVINO's telemetry and others' included."""

import os
import subprocess
import sys

import pytest

from tests.app.isolated import ISOLATED, NO_CI
from tests.app.processes import works
from tests.app.server import ROOT

pytestmark = pytest.mark.skipif(
    not works(*ISOLATED), reason="it takes root or user namespaces, unshare and ip (Debian: iproute2)"
)


def packets_of(activity: str) -> list[str]:
    """What tries to leave the machine while something is done, by words of ``tests.app.isolated``."""
    ended = subprocess.run(
        [*ISOLATED, sys.executable, "-m", "tests.app.isolated", activity],
        cwd=ROOT,
        env={**os.environ, **NO_CI},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_what_calls_out_is_seen() -> None:
    packets = packets_of("call_out")
    assert "IPv4 to 192.0.2.1, protocol 17" in packets  # the name's look-up
    assert "IPv4 to 198.51.100.1, protocol 6" in packets


@pytest.mark.parametrize("activity", ["serve", "serve_with_tensorflow", "train"])
def test_nothing_leaves_the_machine(activity: str) -> None:
    assert packets_of(activity) == []
