"""Markdown to one HTML file that loads nothing: it opens from a disk, and from an e-mail."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from training.html_page import html_page

_STYLE: Final = Path(__file__).with_name("page.css")


def to_page(markdown: str, title: str, folder: Path) -> str:
    """Render a report as a page.

    Args:
        markdown: HTML in it is shown as text; every image in it is a PNG file.
        title: Of the page.
        folder: That the images are relative to.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    contents = list(_name_sections(tokens))
    _inline_images(tokens, folder)
    links = "\n".join(f'<a href="#{name}">{parser.renderInline(heading)}</a>' for name, heading in contents)
    body = parser.renderer.render(list(_with_scrolling_tables(tokens)), parser.options, {})
    return html_page(title, _STYLE, body, before=f'<nav aria-label="Contents">\n{links}\n</nav>\n')


def _name_sections(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Give each section's heading an id; yield it with the heading as Markdown."""
    headings = [i for i, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
    for number, i in enumerate(headings, start=1):
        tokens[i].attrSet("id", f"section-{number}")
        yield f"section-{number}", tokens[i + 1].content


def _inline_images(tokens: Sequence[Token], folder: Path) -> None:
    """Replace the address of every image by its content."""
    for image in (child for token in tokens for child in token.children or [] if child.type == "image"):
        content = (folder / str(image.attrGet("src"))).read_bytes()
        image.attrSet("src", f"data:image/png;base64,{base64.b64encode(content).decode()}")


def _with_scrolling_tables(tokens: Sequence[Token]) -> Iterator[Token]:
    """Put every table into a box of its own: on a phone the box scrolls and not the page."""
    for token in tokens:
        if token.type == "table_open":
            yield Token("html_block", "", 0, content='<div class="table" tabindex="0">\n')
        yield token
        if token.type == "table_close":
            yield Token("html_block", "", 0, content="</div>\n")
