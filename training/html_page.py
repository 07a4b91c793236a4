"""The frame of HTML pages that load nothing: they open from a disk, and from an e-mail."""

from html import escape
from pathlib import Path
from string import Template
from typing import Final

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
$before<main>
$body</main>
</body>
</html>
""")


def html_page(title: str, style: Path, body: str, before: str = "") -> str:
    """Make an HTML page that loads nothing.

    Args:
        title: As text.
        style: File of its style sheet.
        body: HTML.
        before: HTML that stands before the main part.
    """
    return _PAGE.substitute(title=escape(title), style=style.read_text(encoding="utf-8"), body=body, before=before)
