"""What fenced decoders cost: ``python benchmarks/decoding.py`` in an environment with the extra ``serve``.

The service, which decodes in processes of its own, against the same with decoding on its threads, in turn on the same
cores: throughput, latency and processor time under several callers and a single one, and the memory that each holds
afterwards. Processor time is the figure to look at where others use the cores. The load comes from wrk. Every answer is
checked.
"""

import os
import re
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.load import Load, Round, print_rounds
from benchmarks.harness.options import add_load_options, option_parser
from benchmarks.harness.reference import prepare
from benchmarks.harness.servers import Server, admit, process_tree, start_service
from benchmarks.harness.turns import in_turn, print_ratio, print_row

_MODULES: Final = {"processes": "app", "threads": "benchmarks.peers.threaded_service"}


@dataclass(frozen=True)
class Contestant:
    """A server that runs for the length of a measure and is stopped otherwise."""

    server: Server
    load: Load
    seconds: int

    def measure(self, callers: int) -> tuple[Round, float]:
        """Let it answer so many callers for one round; return what was found and its processor time an image in ms."""
        before = self._cpu_seconds()
        self.server.resume()
        try:
            found = self.load.run(self.server.url, callers, self.seconds)
        finally:
            self.server.pause()
        return found, 1000 * (self._cpu_seconds() - before) / found.answers

    def memory_mb(self) -> float:
        """Return what all its processes hold in MB (1e6 bytes), what they share counted once (Pss)."""
        return sum(map(_memory_kb, process_tree(self.server.pid))) * 1024 / 1e6

    def _cpu_seconds(self) -> float:
        return sum(map(_cpu_ticks, process_tree(self.server.pid))) / os.sysconf("SC_CLK_TCK")


def _cpu_ticks(pid: int) -> int:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def _memory_kb(pid: int) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def compare(contestants: dict[str, Contestant], callers: int, rounds: int) -> None:
    """Measure all under so many callers, and print."""
    measures = [lambda one=one: one.measure(callers) for one in contestants.values()]
    found = dict(zip(contestants, zip(*in_turn(rounds, *measures), strict=True), strict=True))
    rates, cpu = {}, {}
    for name, of_one in found.items():
        rates[name] = print_rounds(f"{name}, {callers} callers", [load for load, _ in of_one])
        cpu[name] = [milliseconds for _, milliseconds in of_one]
        print_row("", cpu[name], "ms of processor time an image", digits=2)
    print_ratio("throughput, processes / threads", rates["processes"], rates["threads"])
    print_ratio("processor time, processes / threads", cpu["processes"], cpu["threads"])
    p50s = [[load.p50_ms or 0 for load, _ in found[name]] for name in ("processes", "threads")]
    print_row("p50 of processes minus threads", [a - b for a, b in zip(*p50s, strict=True)], "ms", digits=2)


def main() -> None:
    """Measure and print."""
    parser = option_parser(__doc__, seconds=5, rounds=5)
    add_load_options(parser)
    options = parser.parse_args()
    conditions = f"sent as {options.body}; {options.rounds} rounds of {options.seconds} s in turn"
    images, reference = prepare(options, conditions)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = Load(folder, images, reference, options.body)
        contestants = {}
        for name, module in _MODULES.items():
            server = stack.enter_context(
                start_service(reference.folder, folder / f"{name}.log", module=module, **admit(options.callers))
            )
            load.check(server.url, options.callers)
            contestants[name] = Contestant(server, load, options.seconds)
            contestants[name].measure(options.callers)
        for callers in (options.callers, 1):
            compare(contestants, callers, options.rounds)
        memory = {name: one.memory_mb() for name, one in contestants.items()}
    for name, megabytes in memory.items():
        print_row(f"memory of {name}", [megabytes], "MB")


if __name__ == "__main__":
    main()
