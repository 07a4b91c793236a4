"""The page's files and the policy that they come with; what it does is tested in ``tests/web``."""

import re

import pytest

from app.api.page import WEB
from app.errors import UnlikeTraining
from tests.app.answers import check
from tests.app.server import Server

ADDRESSES = ["/", *(f"/web/{path.name}" for path in sorted(WEB.iterdir()) if path.name != "index.html")]


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_file_comes_under_the_policy(server: Server, address: str) -> None:
    answer = server.client.get(address)
    assert answer.status_code == 200
    policy = dict(directive.split(" ", 1) for directive in answer.headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("address", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/web/page.css", "text/css; charset=utf-8"),
        ("/web/page.js", "text/javascript; charset=utf-8"),
        ("/web/icon.svg", "image/svg+xml"),
    ],
)
def test_media_types(server: Server, address: str, media_type: str) -> None:
    assert server.client.get(address).headers["Content-Type"] == media_type


def test_a_file_that_the_browser_has_is_not_sent_again(server: Server) -> None:
    first = server.client.get("/web/page.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = server.client.get("/web/page.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    changed = server.client.get("/web/page.js", headers={"If-None-Match": '"another"'})
    assert changed.content == first.content


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "..%2fmain.py", "%2e%2e/main.py"])
def test_nothing_else_is_served(server: Server, name: str) -> None:
    check(server.client.get(f"/web/{name}"), 404, "not_found")


@pytest.mark.parametrize("path", sorted(WEB.iterdir()), ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path) -> None:
    text = path.read_text(encoding="utf-8").replace('"http://www.w3.org/2000/svg"', "")  # A name.
    assert not re.search(r"(https?:)?//[\w.-]+\.\w|@import|url\(", text)


def test_the_page_has_no_code_or_style_in_it(server: Server) -> None:
    page = server.client.get("/").text
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="web/page.js">']
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)


def test_without_javascript_the_page_still_says_what_it_is_not(server: Server) -> None:
    page = server.client.get("/").text
    assert "Research use only. Not a diagnosis." in page
    assert "<noscript>" in page


@pytest.mark.parametrize("code", [kind.code for kind in UnlikeTraining.__subclasses__()])
def test_the_page_has_a_title_for_what_the_gate_refuses(code: str) -> None:
    assert len(re.findall(rf"^  {code}: ", (WEB / "messages.js").read_text(), re.MULTILINE)) == 2
    assert f'"{code}"' in (WEB / "result.js").read_text()


@pytest.mark.parametrize("state", ["refuse", "warn", "off", "none"])
def test_the_page_has_words_for_what_becomes_of_other_images(state: str) -> None:
    assert len(re.findall(rf"^  gate_{state}: ", (WEB / "messages.js").read_text(), re.MULTILINE)) == 2
