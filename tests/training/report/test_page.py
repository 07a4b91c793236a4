import base64
from pathlib import Path

from PIL import Image

from tests.training.report.pages import Page
from training.report.page import to_page


def render(markdown: str, folder: Path) -> str:
    return to_page(markdown, "A <title>", folder)


def test_images_are_part_of_the_page(tmp_path: Path) -> None:
    Image.new("L", (3, 2)).save(tmp_path / "dot.png")
    page = Page(render("![What it shows](dot.png)", tmp_path))
    assert page.images == [
        ("data:image/png;base64," + base64.b64encode((tmp_path / "dot.png").read_bytes()).decode(), "What it shows")
    ]


def test_html_in_the_text_is_text(tmp_path: Path) -> None:
    html = render("# <b>\n\n<script>alert(1)</script>\n\n| a |\n| --- |\n| <img src=x> |", tmp_path)
    page = Page(html)
    assert not page.elements & {"script", "b", "img"}
    assert "<script>alert(1)</script>" in page.text
    assert "<title>A &lt;title&gt;</title>" in html


def test_every_section_is_reached_from_the_contents(tmp_path: Path) -> None:
    page = Page(render("# Title\n\n## One *more*\n\na\n\n## Two\n\nb", tmp_path))
    assert page.links == ["#section-1", "#section-2"]
    assert {"section-1", "section-2"} <= page.ids


def test_a_table_has_its_own_box_to_scroll_in(tmp_path: Path) -> None:
    html = render("| a |\n| --- |\n| 1 |", tmp_path)
    assert '<div class="table" tabindex="0">\n<table>' in html
    assert "</table>\n</div>" in html


def test_there_is_a_style_for_print_and_one_for_the_dark(tmp_path: Path) -> None:
    html = render("text", tmp_path)
    assert "@media print" in html
    assert "prefers-color-scheme: dark" in html
