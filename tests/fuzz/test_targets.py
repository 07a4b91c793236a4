"""What atheris is given works, where atheris is not installed, too."""

from random import Random

from tests.fuzz.mutate import make_mutant
from tests.fuzz.requests import FORM, make_posting
from tests.fuzz.targets import decode_bytes, read_form


def test_mutants_are_decoded_or_refused() -> None:
    random = Random(1)
    for _ in range(300):
        decode_bytes(make_mutant(random).data)


def test_forms_are_read_or_refused() -> None:
    forms = [posting.body for number in range(300) if (posting := make_posting(1, number)).content_type == FORM]
    assert len(forms) > 50
    for form in forms:
        read_form(form)
