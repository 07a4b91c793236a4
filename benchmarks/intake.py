"""What cxr-intake keeps of the service's throughput: ``python benchmarks/intake.py``, with the extra ``serve``.

The service on one core, what sends on another one: wrk from the given number of callers, which saturates the service,
and ``cxr-intake`` on a folder of as many files as ``--images`` in all rounds together, in turn. The rate of cxr-intake
is files over the whole time of its process, its start and end included; that of wrk is steady. Each round has a fresh
ledger, and every answer of either is compared with the engine's.

With ``--kills`` it is another measure: cxr-intake on ``--images`` files is killed with SIGKILL so many times, at random
moments of the run, and started again each time. Each file must then be recorded exactly once.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.caller import probability_of
from benchmarks.harness.load import Load, print_rounds
from benchmarks.harness.options import add_load_options, option_parser
from benchmarks.harness.radiographs import Radiographs
from benchmarks.harness.reference import Reference, prepare
from benchmarks.harness.servers import ROOT, Server, admit, start_service
from benchmarks.harness.turns import in_turn, print_ratio, print_row

# Not getrusage: its peak begins with that of the process that started this one.
_PEAK = "print(*(line for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
_CODE = f"import sys\nfrom app.client.intake.cli import app\ntry:\n    app()\nfinally:\n    {_PEAK}"


class WrongRecords(SystemExit):
    """The intake ended otherwise than it should, or its records are not what was sent."""


class Folder:
    """Files to send, and runs over them."""

    def __init__(self, folder: Path, images: Radiographs, count: int) -> None:
        """Write the images again and again, under different names."""
        self._folder, self._images, self.count = folder, len(images.files), count
        self.files = folder / "images"
        self.files.mkdir()
        for number in range(count):
            (self.files / f"{number:06}").write_bytes(images.files[number % self._images])

    def start(self, url: str, ledger: Path, callers: int, *more: str) -> subprocess.Popen[str]:
        """Start a run."""
        options = ["--url", url, "--ledger", ledger, "--concurrency", callers, *more]
        command = [sys.executable, "-c", _CODE, self.files, *options]
        return subprocess.Popen(
            [str(word) for word in command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def finish(self, process: subprocess.Popen[str]) -> float:
        """Wait for a run's end and return its peak memory in MB (1e6 bytes).

        Raises:
            WrongRecords: It did not end with success.
        """
        _, errors = process.communicate()
        if process.returncode:
            raise WrongRecords(f"cxr-intake ended with {process.returncode}: {errors}")
        return int(errors.split()[-2]) * 1024 / 1e6  # VmHWM: 1234 kB

    def check(self, export: Path, reference: Reference) -> None:
        """Compare an export with what was sent.

        Raises:
            WrongRecords: A file has no record, or more than one.
            WrongAnswers: A record is another image's.
        """
        rows: list[dict[str, Any]] = [json.loads(line) for line in export.read_text().splitlines()]
        if sorted(row["path"] for row in rows) != sorted(str(path) for path in self.files.iterdir()):
            raise WrongRecords(f"{len(rows)} records of {self.count} files, or not one of each.")
        for row in rows:
            answer = json.dumps(row["prediction"]).encode()
            number = int(Path(row["path"]).name)
            reference.require(number % self._images, probability_of(answer, reference.label), "cxr-intake")


def measure(folder: Path, files: Folder, server: Server, callers: int, reference: Reference) -> tuple[float, float]:
    """Run once; return files a second and the peak memory in MB."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        export = Path(place) / "out.jsonl"
        begin = time.perf_counter()
        peak = files.finish(files.start(server.url, Path(place) / "ledger.sqlite", callers, "--export", str(export)))
        rate = files.count / (time.perf_counter() - begin)
        files.check(export, reference)
    return rate, peak


def kill(folder: Path, files: Folder, server: Server, options: argparse.Namespace, reference: Reference) -> None:
    """Kill and start again, then let it finish, and compare its records with the files."""
    ledger, export = folder / "killed.sqlite", folder / "killed.jsonl"
    moments = random.Random()
    first = time.perf_counter()
    measure(folder, files, server, options.callers, reference)
    whole = time.perf_counter() - first
    for _ in range(options.kills):
        process = files.start(server.url, ledger, options.callers)
        # So that the last one still finds something to do: the mean is half of an equal share.
        time.sleep(0.4 + moments.uniform(0, whole / options.kills))
        process.kill()
        process.communicate()
        print(f"killed ({'it had ended' if process.returncode == 0 else process.returncode})", flush=True)
    files.finish(files.start(server.url, ledger, options.callers))
    finished = subprocess.run(
        [sys.executable, "-m", "app.client.intake", "--ledger", ledger, "--export", export], cwd=ROOT, check=False
    )
    if finished.returncode:
        raise WrongRecords("The ledger could not be exported.")
    files.check(export, reference)
    print(f"{files.count} files, killed {options.kills} times: each is recorded exactly once")


def main() -> None:
    """Measure and print."""
    parser = option_parser(__doc__, seconds=20, rounds=3)
    add_load_options(parser)
    parser.add_argument("--images", type=int, default=1000, help="Files, in all rounds together; default 1000.")
    parser.add_argument("--cores", default="0,1", help="Of the service and of what sends; default 0,1.")
    parser.add_argument("--kills", type=int, default=0, help="Kill cxr-intake so many times instead.")
    options = parser.parse_args()
    of_service, of_sender = (int(core) for core in options.cores.split(","))
    images, reference = prepare(options, f"service on core {of_service}, {options.callers} callers on core {of_sender}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = Load(folder, images, reference, options.body)
        os.sched_setaffinity(0, {of_service})  # what is started inherits it
        with start_service(reference.folder, folder / "service.log", **admit(options.callers)) as server:
            os.sched_setaffinity(0, {of_sender})
            load.check(server.url, options.callers)
            if options.kills:
                kill(folder, Folder(folder, images, options.images), server, options, reference)
                return
            files = Folder(folder, images, -(-options.images // options.rounds))
            load.run(server.url, options.callers, options.seconds)
            rounds = list(
                in_turn(
                    options.rounds,
                    lambda: (load.run(server.url, options.callers, options.seconds), 0.0),
                    lambda: measure(folder, files, server, options.callers, reference),
                )
            )
    saturated = print_rounds("wrk", [wrk for (wrk, _), _ in rounds])
    kept = [rate for _, (rate, _) in rounds]
    print_row("cxr-intake, whole runs", kept, "images/s", note=f"{files.count} files each")
    print_row("cxr-intake, peak memory", [peak for _, (_, peak) in rounds], "MB")
    print_ratio("cxr-intake / wrk", kept, saturated)


if __name__ == "__main__":
    main()
