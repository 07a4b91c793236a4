import pytest
from markdown_it import MarkdownIt

from training.markdown import code_block, escape, paragraphs, table

PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")


@pytest.mark.parametrize(
    "name", ["my_recipe", "_a_ *b* `c`", "<script>x</script>", "[l](http://x)", "a\\b", "&amp;", "~x~", "# x"]
)
def test_an_escaped_name_stands_there_as_it_is(name: str) -> None:
    (paragraph,) = [token for token in PARSER.parse(f"of {escape(name)}") if token.type == "inline"]
    assert "".join(child.content for child in paragraph.children or []) == f"of {name}"


def test_an_escaped_name_fits_a_cell() -> None:
    cells = [token for token in PARSER.parse(table(["a", "b"], [[escape("x|y_*"), "z"]])) if token.type == "inline"]
    assert ["".join(child.content for child in cell.children or []) for cell in cells] == ["a", "b", "x|y_*", "z"]


@pytest.mark.parametrize("text", ["plain", "```", "a ```` b\n```\nc", "<b> & *x*"])
def test_code_is_shown_letter_by_letter(text: str) -> None:
    (token,) = PARSER.parse(code_block(text))
    assert token.content == f"{text}\n"


def test_empty_paragraphs_are_left_out() -> None:
    assert paragraphs("a", "", "b") == "a\n\nb"
