"""The long run: ``python -m tests.fuzz.run --mutants 20000 --seed 1``; ``make fuzz`` calls it.

Mutants and schemathesis against a service of this working tree, then atheris on its decoder and its form reader.
Exit codes: 0 nothing found, 1 findings. What was badly answered is written into the folder.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from tests.app.server import ROOT, Server
from tests.fuzz.attack import CONNECTIONS, MODALITIES, Attack, Finding, Results, answers_to, faults_of_log, memory_bytes
from tests.fuzz.description import check_description
from tests.fuzz.requests import valid_postings

_MEBIBYTE: Final = 2**20
_SAMPLES: Final = 20
_ENOUGH_MUTANTS: Final = 4000
_MEMORY_SLACK: Final = 1.10
"""Most growth of memory from the middle of a run to its end: what an allocator may keep, and no leak can stay below. Of
fewer mutants than the number above the first half is still the warming up."""


def run(
    mutants: Annotated[int, typer.Option(help="How many requests to post.", min=0)] = 20_000,
    seed: Annotated[int, typer.Option(help="Other seeds, other mutants.", min=1)] = 1,
    first: Annotated[int, typer.Option(help="Number of the first; with --mutants 1 to post one again.", min=0)] = 0,
    connections: Annotated[int, typer.Option(help="Requests at a time.", min=1)] = CONNECTIONS,
    examples: Annotated[int, typer.Option(help="Of schemathesis, for each operation; 0: none.", min=0)] = 200,
    seconds: Annotated[int, typer.Option(help="Of atheris, for each target; 0: none.", min=0)] = 120,
    folder: Annotated[Path, typer.Option(help="Where findings are written.")] = Path(".cache/fuzz"),
) -> None:
    """Post mutants of valid files to a service of this working tree, and say what it did wrong."""
    found = _attack_service(range(first, first + mutants), seed, connections, examples, folder)
    for target in ("decode", "form") if seconds else ():
        found += _fuzz_decoder(target, seconds, seed, folder)
    for fault in found:
        print(f"FINDING {fault}")
    print(f"{len(found)} findings")
    raise typer.Exit(1 if found else 0)


def _attack_service(numbers: range, seed: int, connections: int, examples: int, folder: Path) -> list[str]:
    begin, golden, found = time.perf_counter(), valid_postings(), list[str]()
    with Server(modalities=MODALITIES) as server:
        expected = answers_to(server, golden)  # This warms up, too: every decoder has then been used.
        attack, memory = Attack(server, seed), [memory_bytes(server.pid)]
        for piece in _pieces(numbers):
            attack.post(piece, connections)
            memory.append(memory_bytes(server.pid))
            _progress(f"{piece[-1] + 1 - numbers[0]} mutants posted, {memory[-1] / _MEBIBYTE:.0f} MiB")
        attack.post_late_alone()
        _report(attack.results, memory, time.perf_counter() - begin)
        found += [_write(finding, seed, folder) for finding in attack.results.findings]
        if len(numbers) >= _ENOUGH_MUTANTS and memory[-1] > _MEMORY_SLACK * memory[len(memory) // 2]:
            found.append("Memory grows.")
        if examples:
            found += _check_description(server, examples, seed)
        if answers_to(server, golden) != expected:
            found.append("A valid file is not answered as before.")
        found += faults_of_log(server)
    return found


def _check_description(server: Server, examples: int, seed: int) -> list[str]:
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        checked = check_description(server.url, Path(folder), examples=examples, seed=seed)
    print(checked.stdout[checked.stdout.index("= SUMMARY =") :] if not checked.returncode else checked.stdout)
    print(f"schemathesis: {time.perf_counter() - begin:.0f} s")
    return ["schemathesis: see above. " + checked.stderr] if checked.returncode else []


def _fuzz_decoder(target: str, seconds: int, seed: int, folder: Path) -> list[str]:
    if find_spec("atheris") is None:
        print(
            "atheris is not installed (extra `fuzz`, Python 3.11 to 3.13 on Linux): decoders were not fuzzed with it."
        )
        return []
    _progress(f"atheris on {target} for {seconds} s")
    options = {"target": target, "seconds": seconds, "seed": seed, "folder": folder}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "tests.fuzz.decoder", *arguments]
    fuzzed = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    print("\n".join(line for line in fuzzed.stderr.splitlines() if line.startswith("stat::")))
    return [f"atheris on {target}: {fuzzed.stderr[-3000:]}"] if fuzzed.returncode else []


def _pieces(numbers: range) -> list[Sequence[int]]:
    size = max(1, len(numbers) // _SAMPLES)
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _write(finding: Finding, seed: int, folder: Path) -> str:
    """Write a request down and describe what was wrong with its answer."""
    folder.mkdir(parents=True, exist_ok=True)
    path, posting = folder / f"{seed}-{finding.number}", finding.posting
    path.with_suffix(".body").write_bytes(posting.body)
    request = {name: value for name, value in asdict(posting).items() if name != "body"}
    path.with_suffix(".json").write_text(json.dumps({"fault": finding.fault, **request}, indent=1), encoding="utf-8")
    return f"{path}.json, {posting.target}, {posting.origin}: {finding.fault}"


def _report(results: Results, memory: list[int], seconds: float) -> None:
    print(f"{results.answers.total()} answers to mutants in {seconds:.0f} s")
    for (status, code), count in sorted(results.answers.items()):
        print(f"{count:8}  {status} {code}")
    for slow, number, origin in results.slowest:
        print(f"{slow:8.2f} s  {number}, {origin}")
    print("Memory of the service and its decoders at the start, halfway, at the end: ", end="")
    print(", ".join(f"{memory[at] / _MEBIBYTE:.0f} MiB" for at in (0, len(memory) // 2, -1)))


def _progress(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    typer.run(run)
