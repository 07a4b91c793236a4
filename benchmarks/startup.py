"""How long a start takes, and what it holds: ``.venv/serve/bin/python benchmarks/startup.py``.

Starts the service several times, in turn without a compilation cache and with one that an earlier start has filled
(the second start). Prints seconds from process start to ``GET /readyz`` 200, and the peak resident memory then and,
with the cache, after it has answered requests from many callers. Files are in the page cache in any case. Linux.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.load import Load
from benchmarks.harness.options import add_load_options, option_parser
from benchmarks.harness.reference import prepare
from benchmarks.harness.servers import admit, start_service
from benchmarks.harness.turns import in_turn, print_ratio, print_row


@dataclass(frozen=True)
class Start:
    """One start of the service.

    Attributes:
        ready_seconds: From process start until it was ready.
        ready_mb: Peak resident memory then.
        loaded_mb: The same after the load, or as it was without one.
    """

    ready_seconds: float
    ready_mb: float
    loaded_mb: float


@dataclass(frozen=True)
class Starter:
    """Starts the service and stops it.

    Attributes:
        model: The artifact's folder.
        load: Requests, for a start that is to answer some.
        callers: In flight.
        seconds: How long it answers.
        folder: For the log.
    """

    model: Path
    load: Load
    callers: int
    seconds: int
    folder: Path

    def start(self, cache_dir: str, *, loaded: bool) -> Start:
        """Start once.

        Args:
            cache_dir: For compiled models; "" for none.
            loaded: Whether it then answers requests.
        """
        settings = {"cache_dir": cache_dir, **admit(self.callers)}
        with start_service(self.model, self.folder / "service.log", **settings) as server:
            ready_mb = server.peak_memory_mb()
            if loaded:
                self.load.check(server.url, self.callers)
                self.load.run(server.url, self.callers, self.seconds)
            return Start(server.ready_seconds, ready_mb, server.peak_memory_mb())


def main() -> None:
    """Measure and print."""
    parser = option_parser(__doc__, seconds=5, rounds=5)
    add_load_options(parser)
    options = parser.parse_args()
    load_conditions = f"sent as {options.body}; {options.callers} callers for {options.seconds} s"
    images, reference = prepare(options, f"{load_conditions}; {options.rounds} rounds in turn")
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as cache:
        load = Load(Path(name), images, reference, options.body)
        starter = Starter(reference.folder, load, options.callers, options.seconds, Path(name))
        first = starter.start(cache, loaded=False)
        starts = in_turn(
            options.rounds, lambda: starter.start("", loaded=False), lambda: starter.start(cache, loaded=True)
        )
        cold, second = zip(*starts, strict=True)
    print(f"{'ready, start that fills the cache':36} {first.ready_seconds:10.2f} s")
    cold_seconds, second_seconds = ([start.ready_seconds for start in starts] for starts in (cold, second))
    print_row("ready, no cache", cold_seconds, "s", digits=2)
    print_row("ready, second start", second_seconds, "s", digits=2)
    print_ratio("ready, second start / no cache", second_seconds, cold_seconds)
    print_row("peak memory when ready, no cache", [start.ready_mb for start in cold], "MB", digits=0)
    print_row("peak memory when ready, second start", [start.ready_mb for start in second], "MB", digits=0)
    print_row("peak memory after load, second start", [start.loaded_mb for start in second], "MB", digits=0)


if __name__ == "__main__":
    main()
