"""Coverage-guided fuzzing of the code that reads foreign bytes: ``python -m tests.fuzz.decoder --seconds 600``.

Atheris mutates the corpus and keeps what reaches new lines of app.imaging, Pillow's and pydicom's Python code. It runs
in one process, without the fences of a decoder, so that a fault of a library written in C ends it and is seen.

Needs the extra ``fuzz``. Exit codes: 0 nothing found; 77 an exception that is none of ours, or more than two seconds;
others are libFuzzer's, for a crash, a hang or too much memory. The input is written into the folder.
"""

import logging
import sys
import time
from pathlib import Path
from random import Random
from typing import Annotated, Final, Literal

import atheris
import typer

with atheris.instrument_imports(include=["app.imaging", "app.api.multipart", "PIL", "pydicom", "python_multipart"]):
    from tests.fuzz.targets import decode_bytes, read_form

from tests.fuzz.corpus import seeds
from tests.fuzz.fields import find_fields
from tests.fuzz.judge import LIMIT_SECONDS
from tests.fuzz.mutate import change_field, damage, repair_png
from tests.fuzz.requests import make_posting

_LONGEST: Final = 2**16
_MEMORY_MEBIBYTES: Final = 2048
_HANG_SECONDS: Final = 60
_FORMS: Final = 300


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change fields of the format half of the time; libFuzzer's own mutations find the rest."""
    random, changed = Random(seed), bytearray(data)
    if random.random() < 0.5 and (fields := find_fields(data)):
        for field in random.choices(fields, k=random.choice((1, 1, 2, 3))):
            change_field(changed, field, random)
    elif random.random() < 0.2:
        changed = bytearray(damage(data, random))
    else:
        changed = bytearray(atheris.Mutate(data, max_size))
    if changed.startswith(b"\x89PNG") and random.random() < 0.8:
        changed = bytearray(repair_png(bytes(changed)))
    return bytes(changed[:max_size])


def fuzz(
    target: Annotated[Literal["decode", "form"], typer.Option(help="What is given the inputs.")] = "decode",
    seconds: Annotated[int, typer.Option(help="For how long.", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="Other seeds, other inputs.", min=1)] = 1,
    folder: Annotated[Path, typer.Option(help="Of the corpus as it grows, and of findings.")] = Path(".cache/fuzz"),
) -> None:
    """Give inputs to the code that reads foreign bytes, until the time is over or something is found."""
    corpus, one_input = folder / target, decode_bytes if target == "decode" else read_form
    corpus.mkdir(parents=True, exist_ok=True)
    inputs = [file.data for file in seeds()] if target == "decode" else [make_posting(1, n).body for n in range(_FORMS)]
    for number, data in enumerate(data for data in inputs if len(data) <= _LONGEST):
        (corpus / f"seed-{number}").write_bytes(data)
    logging.disable()

    def timed(data: bytes) -> None:
        begin = time.process_time()
        one_input(data)
        if (taken := time.process_time() - begin) > LIMIT_SECONDS:
            raise AssertionError(f"{taken:.1f} s of processor time for {len(data)} bytes")

    options = {
        "max_total_time": seconds, "seed": seed, "max_len": _LONGEST, "rss_limit_mb": _MEMORY_MEBIBYTES,
        "timeout": _HANG_SECONDS, "artifact_prefix": f"{folder}/{target}-", "print_final_stats": 1, "verbosity": 1,
    }  # fmt: skip
    arguments = [sys.argv[0], str(corpus), *(f"-{name}={value}" for name, value in options.items())]
    atheris.Setup(arguments, timed, custom_mutator=mutate if target == "decode" else None)
    atheris.Fuzz()


if __name__ == "__main__":
    typer.run(fuzz)
