"""The long run: ``python -m tests.fuzz.run --mutants 20000 --seed 1``; ``make fuzz`` calls it.

Exit codes: 0 nothing found, 1 findings. What was posted and badly answered is written into a folder.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from tests.app.server import Server
from tests.fuzz.attack import CONNECTIONS, MODALITIES, Attack, Finding, Results, answers_to, faults_of_log, memory_bytes
from tests.fuzz.requests import valid_postings

_MEBIBYTE: Final = 2**20
_SAMPLES: Final = 20
_MEMORY_SLACK: Final = 1.10
"""Most growth of memory from the middle of the run to its end: what an allocator may keep, and no leak may pass."""


def run(
    mutants: Annotated[int, typer.Option(help="How many requests to post.", min=1)] = 20_000,
    seed: Annotated[int, typer.Option(help="Other seeds, other mutants.")] = 1,
    first: Annotated[int, typer.Option(help="Number of the first; with --mutants 1 to reproduce one.", min=0)] = 0,
    connections: Annotated[int, typer.Option(help="Requests at a time.", min=1)] = CONNECTIONS,
    folder: Annotated[Path, typer.Option(help="Where findings are written.")] = Path(".cache/fuzz"),
) -> None:
    """Post mutants of valid files to a service of this working tree, and say what it did wrong."""
    begin, golden = time.perf_counter(), valid_postings()
    with Server(modalities=MODALITIES) as server:
        expected = answers_to(server, golden)  # This warms up, too: every decoder has then been used.
        attack, memory = Attack(server, seed), [memory_bytes(server.pid)]
        for numbers in _pieces(range(first, first + mutants)):
            attack.post(numbers, connections)
            memory.append(memory_bytes(server.pid))
            print(f"{numbers[-1] + 1 - first} posted, {memory[-1] / _MEBIBYTE:.0f} MiB", file=sys.stderr)
        attack.post_late_alone()
        faults = faults_of_log(server)
        if answers_to(server, golden) != expected:
            faults.append("A valid file is not answered as before.")
        if server.client.get("/readyz").status_code != 200:
            faults.append("The service is not ready at the end.")
    if len(memory) > _SAMPLES and memory[-1] > _MEMORY_SLACK * memory[_SAMPLES // 2]:
        faults.append("Memory grows.")
    for finding in attack.results.findings:
        _write(finding, seed, folder)
    _report(attack.results, faults, memory, time.perf_counter() - begin)
    raise typer.Exit(1 if faults or attack.results.findings else 0)


def _pieces(numbers: range) -> list[Sequence[int]]:
    size = max(1, len(numbers) // _SAMPLES)
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _write(finding: Finding, seed: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{seed}-{finding.number}"
    path.with_suffix(".body").write_bytes(finding.posting.body)
    request = {name: value for name, value in asdict(finding.posting).items() if name != "body"}
    path.with_suffix(".json").write_text(json.dumps({"fault": finding.fault, **request}, indent=1), encoding="utf-8")


def _report(results: Results, faults: list[str], memory: list[int], seconds: float) -> None:
    posted = results.answers.total()
    print(f"{posted} answers in {seconds:.0f} s")
    for (status, code), count in sorted(results.answers.items()):
        print(f"{count:8}  {status} {code}")
    for slow, number, origin in results.slowest:
        print(f"{slow:8.2f} s  {number}, {origin}")
    print("Memory at the start, halfway, at the end: ", end="")
    print(", ".join(f"{memory[at] / _MEBIBYTE:.0f} MiB" for at in (0, len(memory) // 2, -1)))
    for finding in results.findings:
        print(f"FINDING {finding.number}, {finding.posting.target}, {finding.posting.origin}: {finding.fault}")
    for fault in faults:
        print(f"FINDING {fault.strip()[:2000]}")
    print(f"{len(results.findings) + len(faults)} findings")


if __name__ == "__main__":
    typer.run(run)
