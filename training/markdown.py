"""Pieces of Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

_SPECIAL: Final = re.compile(r"[\\`*\[\]<>#~&]|(?<![^\W_])_|_(?![^\W_])")
"""What could be markup within a line, save the cell's end, which ``table`` escapes; ``_`` within a word is none."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; what would end a cell is escaped."""
    return "\n".join(_row(cells) for cells in [header, ["---"] * len(header), *rows])


def paragraphs(*texts: str) -> str:
    """Join paragraphs, tables and lists; empty ones are left out."""
    return "\n\n".join(text for text in texts if text)


def escape(text: str) -> str:
    """Escape a name that others chose, so that it stands there as it is."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def code_block(text: str) -> str:
    """Fence text that is shown letter by letter, whatever it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _row(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
