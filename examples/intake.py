"""Watch a folder, ask the service about each image put into it, and keep a table of the answers.

    python examples/intake.py incoming answers.csv --url http://127.0.0.1:8000

Answered images go to incoming/done, refused ones to incoming/refused with the reason in the table. While the service
is not reachable or busy, images stay where they are. Killed between writing a line and moving the image, it asks again
when it is started again, and the image has two lines; `cxr-intake` keeps a ledger against that.

Written to be read and changed. Research use only, never a diagnosis.
"""

import argparse
import csv
import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path

from app.client import Busy, ConnectionFailed, CxrClient, CxrError, Refused, Unauthorized

COLUMNS = ("time", "file", "label", "covid_probability", "threshold", "model", "digest", "warnings", "refused")
PAUSE_S = 30  # before another try, where the service does not say how long


def main() -> None:
    """Watch until interrupted."""
    parser = argparse.ArgumentParser(description="Ask about each image put into a folder. Never a diagnosis.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("table", type=Path, help="CSV to append to, outside the folder")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--look-every", type=float, default=5, metavar="SECONDS")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder.")
    if arguments.table.resolve().parent == arguments.folder.resolve():
        parser.error(f"{arguments.table} is in the folder and would be taken for an image: put it elsewhere.")
    states: dict[Path, tuple[int, int]] = {}
    with CxrClient(arguments.url, api_key=os.environ.get("CXR_API_KEY")) as client:
        while True:
            before, states = states, states_of(arguments.folder)
            settled = [path for path, state in states.items() if before.get(path) == state]
            pause_s = take(client, settled, arguments.table)
            time.sleep(max(pause_s, arguments.look_every))


def states_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return size and time of each file: where they are those of the look before, nobody is writing it any more."""
    states = {}
    for path in sorted(folder.iterdir()):
        with suppress(FileNotFoundError):  # moved away since
            if path.is_file() and not path.name.startswith("."):
                states[path] = (path.stat().st_size, path.stat().st_mtime_ns)
    return states


def take(client: CxrClient, paths: list[Path], table: Path) -> float:
    """Ask about each file, note the answer and move it; return for how many seconds to leave the service alone."""
    for path in paths:
        try:
            answer = client.predict(path)
        except Refused as refusal:
            add_line(table, path, refused=refusal)
            move(path, "refused")
        except (ConnectionFailed, Busy, Unauthorized) as error:  # the others would fare no better
            print(error, file=sys.stderr)
            return getattr(error, "retry_after_s", None) or PAUSE_S
        except (CxrError, OSError) as error:  # stays, and is tried again at the next look
            print(f"{path}: {error}", file=sys.stderr)
        else:
            add_line(
                table,
                path,
                label=answer.label,
                covid_probability=answer.probabilities["COVID-19"],
                threshold=answer.threshold,
                model=f"{answer.model.name} {answer.model.version}",
                digest=answer.model.digest,
                warnings=" ".join(warning.message for warning in answer.warnings),
            )
            move(path, "done")
    return 0


def add_line(table: Path, path: Path, **values: object) -> None:
    """Append to the table, which its owner alone can read: file names can name patients."""
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "file": path.name, **values}
    private = partial(os.open, mode=0o600)
    with open(table, "a", newline="", encoding="utf-8", errors="backslashreplace", opener=private) as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            writer.writeheader()
        writer.writerow(line)


def move(path: Path, place: str) -> None:
    """Move a file into a folder beside it, under another name where there is one of its name."""
    folder = path.parent / place
    folder.mkdir(exist_ok=True)
    for number in count(1):
        target = folder / (path.name if number == 1 else f"{path.stem}-{number}{path.suffix}")
        with suppress(FileExistsError):
            target.touch(exist_ok=False)  # the name is ours now, and what is replaced is our own empty file
            path.replace(target)
            return


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
