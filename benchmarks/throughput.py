"""Throughput at saturation: ``python benchmarks/throughput.py``, with the extras ``serve`` and ``bench`` installed.

The service against the bare loop (``bare.py``) and against other servers: ``naive`` is FastAPI with
``tf.saved_model.load`` and one call a request; LitServe and BentoML batch by their own means and run the service's own
decoding and engine. The settings of these two and the ways to run the bare loop are tried first, and the best of each
is measured. Then all are measured in turn, one at a time on the same cores with wrk beside them, the others stopped.
Every answer must be 200 and a probability of the engine's; before, each image's answer is compared with its own.

A peer that is not installed, or that fails, is left out by name.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bare import BareLoop
from benchmarks.harness.caller import WrongAnswers
from benchmarks.harness.load import Load, Round, print_rounds
from benchmarks.harness.options import add_load_options, option_parser
from benchmarks.harness.peers import PEERS, Settings
from benchmarks.harness.reference import prepare
from benchmarks.harness.servers import Server, ServerFailed, admit, start_service
from benchmarks.harness.turns import in_turn, print_ratio

_BATCHING_PEERS: Final = ("litserve", "bentoml")


@dataclass(frozen=True)
class Contest:
    """What all servers are measured with.

    Attributes:
        load: The requests.
        model: The artifact's folder.
        callers: Requests in flight.
        seconds: Of one round.
        folder: For logs.
    """

    load: Load
    model: Path
    callers: int
    seconds: int
    folder: Path

    def measure(self, server: Server) -> Round:
        """Let a stopped server run for one round."""
        server.resume()
        try:
            return self.load.run(server.url, self.callers, self.seconds)
        finally:
            server.pause()

    def enter(self, server: Server, note: str) -> "Entrant":
        """Check a fresh server's answers, warm it up by a round, and stop it until its turn."""
        self.load.check(server.url, self.callers)
        self.measure(server)
        return Entrant(lambda: self.measure(server), note)

    def fastest(self, name: str, settings: tuple[Settings, ...]) -> Settings | None:
        """Try a peer's settings, each by a round after its warm-up; None if none works."""
        if len(settings) == 1:
            return settings[0]
        rates: dict[Settings, float] = {}
        for number, candidate in enumerate(settings):
            try:
                with candidate.start(self.model, self.folder / f"{name}-{number}.log") as server:
                    rates[candidate] = self.enter(server, candidate.description).measure().rate
                    print(f"{rates[candidate]:9.1f} images/s  {name}: {candidate.description}", flush=True)
            except (ServerFailed, WrongAnswers) as error:
                print(f"{name} left out with {candidate.description}: {error}", flush=True)
        return max(rates, key=rates.__getitem__, default=None)


@dataclass(frozen=True)
class Entrant:
    """Something to measure in turn with the others: one round, and how it is run."""

    measure: Callable[[], Round]
    note: str


def parse_options() -> argparse.Namespace:
    """Read the command line; ``peers`` becomes a list of names."""
    known = ("service", "bare", *PEERS)
    parser = option_parser(__doc__, seconds=10, rounds=5)
    add_load_options(parser)
    parser.add_argument(
        "--peers", default=",".join(known), help=f"What to measure, of {','.join(known)}; default: all."
    )
    parser.add_argument("--probe-seconds", type=float, default=1, help="To try a way to run the bare loop; default 1.")
    options = parser.parse_args()
    options.peers = options.peers.split(",")
    if unknown := set(options.peers) - set(known):
        parser.error(f"--peers has {', '.join(sorted(unknown))}; known are {', '.join(known)}.")
    return options


def entrants(contest: Contest, loop: BareLoop, options: argparse.Namespace, stack: ExitStack) -> dict[str, Entrant]:
    """Try settings, start the servers, check and warm them up, and leave them stopped."""
    found = {}
    for name, peer in PEERS.items():
        if name in options.peers and not peer.is_installed():
            print(f"{name} left out: {peer.package} is not installed. Install the extra 'bench'.")
        elif name in options.peers and (settings := contest.fastest(name, peer.settings)):
            try:
                server = stack.enter_context(settings.start(contest.model, contest.folder / f"{name}.log"))
                found[name] = contest.enter(server, settings.description)
            except (ServerFailed, WrongAnswers) as error:
                print(f"{name} left out: {error}", flush=True)
    if "service" in options.peers:
        log = contest.folder / "service.log"
        server = stack.enter_context(start_service(contest.model, log, **admit(options.callers)))
        found["service"] = contest.enter(server, "python -m app")
    if "bare" in options.peers:
        best = loop.best(
            options.probe_seconds, lambda way, rate: print(f"{rate:9.1f} images/s  bare: {way}", flush=True)
        )
        found["bare"] = Entrant(lambda: Round(loop.measure(best, options.seconds)), str(best))
    return found


def report(found: dict[str, Entrant], rounds: Sequence[tuple[Round, ...]]) -> None:
    """Print each entrant's figures, then the service over each other."""
    by_entrant = zip(found, zip(*rounds, strict=True), strict=True)
    rates = {name: print_rounds(name, of_entrant, found[name].note) for name, of_entrant in by_entrant}
    if "service" in rates:
        for name in (name for name in rates if name != "service"):
            print_ratio(f"service / {name}", rates["service"], rates[name])
        if batching := [rates[name] for name in _BATCHING_PEERS if name in rates]:
            better = max(batching, key=statistics.median)
            print_ratio("service / better of litserve, bentoml", rates["service"], better)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    load_conditions = f"sent as {options.body}; {options.callers} callers"
    conditions = f"{load_conditions}; {options.rounds} rounds of {options.seconds} s in turn"
    images, reference = prepare(options, conditions, *(peer.package for peer in PEERS.values()))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = Load(folder, images, reference, options.body)
        contest = Contest(load, reference.folder, options.callers, options.seconds, folder)
        found = entrants(contest, BareLoop(reference, images.files), options, stack)
        report(found, list(in_turn(options.rounds, *(entrant.measure for entrant in found.values()))))


if __name__ == "__main__":
    main()
