"""Some hundred mutants of valid files, posted to the real service. ``make fuzz`` posts many thousand."""

from pathlib import Path
from typing import Final

from tests.app.server import Server
from tests.fuzz.attack import MODALITIES, Attack, answers_to, faults_of_log
from tests.fuzz.requests import make_posting, valid_postings

SEED: Final = 6
MUTANTS: Final = 600


def test_a_mutant_is_reproduced_by_its_number() -> None:
    assert [make_posting(SEED, number) for number in range(20)] == [make_posting(SEED, number) for number in range(20)]
    assert make_posting(SEED, 1) != make_posting(SEED + 1, 1)


def test_mutants_are_refused_or_answered(cache_dir: Path) -> None:
    valid = valid_postings()[::10]
    with Server(cache_dir=cache_dir, modalities=MODALITIES) as server:
        before, attack = answers_to(server, valid), Attack(server, SEED)
        attack.post(range(MUTANTS))
        attack.post_late_alone()
        assert attack.results.findings == []
        assert attack.results.answers.total() == MUTANTS
        assert {status for status, _ in attack.results.answers} == {200, 400, 413, 415, 422}
        assert answers_to(server, valid) == before
        assert server.client.get("/readyz").status_code == 200
        assert faults_of_log(server) == []
