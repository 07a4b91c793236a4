"""Debian's Chromium, and the page in it."""

import shutil
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.app.gates import wait_until
from tests.app.in_process import serve
from tests.app.server import Server

__all__ = ["serve"]

CHROMIUM: Final = shutil.which("chromium")
REBOUND: Final = "rebound.example"
"""A name that leads to this machine, as an attacker's name server can have it."""
_WAIT_MS: Final = 15_000

_WATCH: Final = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
window.objectUrls = new Set();
const {createObjectURL, revokeObjectURL} = URL;
URL.createObjectURL = (file) => {
    const url = createObjectURL.call(URL, file);
    objectUrls.add(url);
    return url;
};
URL.revokeObjectURL = (url) => {
    objectUrls.delete(url);
    revokeObjectURL.call(URL, url);
};
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running browser, shared by a file's tests.

    No longer: Playwright keeps an event loop running in the main thread, and
    `asyncio.run` of a later test in this process would refuse to start another.
    """
    if not CHROMIUM:
        pytest.skip("chromium is missing; Debian: apt-get install --no-install-recommends chromium")
    with sync_playwright() as playwright:
        # Its sandbox does not start under root, which CI is.
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def locale() -> str:
    """The browser's language; a test can set another."""
    return "en-GB"


@pytest.fixture
def context(browser: Browser, locale: str) -> Iterator[BrowserContext]:
    """A browser that has seen nothing yet, and breaks no rule of the page's policy."""
    context = browser.new_context(locale=locale, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(_WAIT_MS)
    context.add_init_script(_WATCH)
    errors = list[str]()
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    violations = [page.evaluate("violations") for page in context.pages]
    # An image may still be loading as a test ends.
    wait_until(lambda: not any(page.evaluate("[...objectUrls]") for page in context.pages))
    context.close()
    assert not errors
    assert not any(violations), violations


@pytest.fixture
def page(context: BrowserContext, server: Server) -> Page:
    """The page of the shared service."""
    page = context.new_page()
    page.goto(server.url)
    return page
