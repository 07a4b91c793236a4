"""A feed that a signal stops at its worst moment."""

import subprocess
import sys


def test_a_signal_while_a_thread_is_started_does_not_lose_the_thread() -> None:
    """Its file is in flight: it is waited for, as any other."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.client.intake.interrupted_feed"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
