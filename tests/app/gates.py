"""Stop a thread of the service at a place, instead of hoping that it is there at a time."""

import threading
import time
from collections.abc import Callable
from typing import Final

WAIT_SECONDS: Final = 60
"""For what happens at once, on a machine that does other things too."""


class Gate:
    """A place to stop a thread of the service, and to know that it is there."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def wait(self) -> None:
        """Stop here until the gate is opened."""
        self.reached.set()
        assert self.opened.wait(WAIT_SECONDS)


def wait_until(condition: Callable[[], object]) -> None:
    """Ask until something that another thread or process does has happened."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "It did not happen."
