"""Throughput against concurrency: ``python benchmarks/concurrency.py`` in an environment with the extra ``serve``.

The service under 1 to 64 callers, each of which sends its next image once it has its answer, levels in turn. Every
answer is checked. How wrk's percentiles are counted, ``harness/load.py`` says.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.load import Load, print_rounds
from benchmarks.harness.options import add_body_option, option_parser
from benchmarks.harness.reference import prepare
from benchmarks.harness.servers import admit, start_service
from benchmarks.harness.turns import in_turn, print_ratio

LEVELS: Final = (1, 2, 4, 8, 16, 32, 64)


def main() -> None:
    """Measure and print."""
    parser = option_parser(__doc__, seconds=10, rounds=3)
    add_body_option(parser)
    options = parser.parse_args()
    conditions = f"sent as {options.body}; {options.rounds} rounds of {options.seconds} s a level in turn"
    images, reference = prepare(options, conditions)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = Load(folder, images, reference, options.body)
        with start_service(reference.folder, folder / "service.log", **admit(LEVELS[-1])) as server:
            load.check(server.url, LEVELS[-1])
            load.run(server.url, LEVELS[-1], options.seconds)
            measures = [lambda level=level: load.run(server.url, level, options.seconds) for level in LEVELS]
            by_level = list(zip(*in_turn(options.rounds, *measures), strict=True))
    rates = [print_rounds(f"{level} callers", rounds) for level, rounds in zip(LEVELS, by_level, strict=True)]
    for level, level_rates in zip(LEVELS[1:], rates[1:], strict=True):
        print_ratio(f"{level} callers / 1 caller", level_rates, rates[0])


if __name__ == "__main__":
    main()
