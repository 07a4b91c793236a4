"""What a page of another site can do to a service without keys, in a browser of its machine: nothing."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import BrowserContext

from tests.app.server import Server
from tests.web.conftest import REBOUND

_ASK: Final = """async ([url, options]) => {
    try {
        const answer = await fetch(url, {method: "POST", body: "image", ...options});
        return [answer.type, answer.status, await answer.text()];
    } catch (error) {
        return ["failed", 0, ""];
    }
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def another_site(tmp_path: Path) -> Iterator[str]:
    """An empty page of another site, one on this machine for which nothing has to be looked up."""
    (tmp_path / "index.html").write_text("<!doctype html><title>Another site</title>")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_it_can_neither_read_an_answer_nor_make_the_service_work(
    context: BrowserContext, server: Server, another_site: str, path: str
) -> None:
    page = context.new_page()
    page.goto(another_site)
    before = server.metric("cxr_rejected_total", code="cross_site")
    assert page.evaluate(_ASK, [server.url + path, {}]) == ["failed", 0, ""]
    assert page.evaluate(_ASK, [server.url + path, {"mode": "no-cors"}])[0] in ("opaque", "failed")
    assert server.metric("cxr_rejected_total", code="cross_site") == before + 2


def test_it_gains_nothing_by_giving_its_name_the_services_address(context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    page.goto(f"http://{REBOUND}:{server.address[1]}/")
    kind, status, text = page.evaluate(_ASK, ["/predict", {}])
    assert (kind, status) == ("basic", 421), "the browser takes it for the same site"
    assert "unknown_host" in text
    for path in ("/model", "/metrics"):
        assert page.evaluate("(path) => fetch(path).then((answer) => answer.status)", path) == 421
