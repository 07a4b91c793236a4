"""The summary as one HTML file that loads nothing and prints on one page of A4."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from training.html_page import html_page

_STYLE: Final = Path(__file__).with_name("page.css")

HALVES: Final = {"Beside rules that look at no lung", "What its probabilities mean here"}
"""Titles of the sections that share a row of the page."""


def to_sheet(markdown: str, title: str) -> str:
    """Render the summary.

    Args:
        markdown: HTML in it is shown as text; it holds no images.
        title: Of the page.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = list(_in_sections(parser.parse(markdown)))
    return html_page(title, _STYLE, parser.renderer.render(tokens, parser.options, {}))


def _in_sections(tokens: Sequence[Token]) -> Iterator[Token]:
    """Put each second-level heading with what follows it into a section; two narrow ones stand side by side."""
    titles = [tokens[i + 1].content for i, token in enumerate(tokens) if _opens(token)]
    halves = set(HALVES) if set(titles) >= HALVES else set()
    opened = False
    for i, token in enumerate(tokens):
        if _opens(token):
            if opened:
                yield _html("</section>\n")
            opened = True
            yield _html('<section class="half">\n' if tokens[i + 1].content in halves else "<section>\n")
        yield token
    if opened:
        yield _html("</section>\n")


def _opens(token: Token) -> bool:
    return token.type == "heading_open" and token.tag == "h2"


def _html(content: str) -> Token:
    return Token("html_block", "", 0, content=content)
