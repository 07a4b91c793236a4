"""Feed two files, and be interrupted while the thread of the first is being started: a process of its own."""

import signal
import threading

from app.client.intake.feed import feed
from app.client.intake.files import Selected
from app.client.intake.records import Outcome, Record
from app.client.intake.report import Report

start, finished, interrupted = threading.Thread.start, threading.Event(), threading.Event()


def start_and_be_interrupted(thread: threading.Thread) -> None:
    start(thread)
    if not interrupted.is_set():
        interrupted.set()
        signal.raise_signal(signal.SIGINT)  # To this thread, before it goes on; os.kill may choose another.


def handle(selected: Selected) -> Record:
    finished.wait(0.2)  # Until the feed has had time to forget it.
    finished.set()
    return Record(given=selected.given, path=selected.path, outcome=Outcome.ANSWERED, body={})


if __name__ == "__main__":
    with Report(total=None, as_json_lines=False) as report:
        threading.Thread.start = start_and_be_interrupted  # type: ignore[method-assign]
        result = feed(
            [Selected("a.png"), Selected("b.png")], handle, concurrency=2, report=report, stop=threading.Event()
        )
    assert finished.is_set()
    assert (result.interrupted, result.selected, result.finished, result.error) == (True, 1, 1, None), result
