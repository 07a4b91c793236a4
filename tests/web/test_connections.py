"""Page and description talk to the service that they come from and to nobody else."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.app.server import Server
from tests.web.actions import PNG, choose, expect_answer, file, results


@pytest.fixture
def asked(context: BrowserContext) -> set[str]:
    """Whom a browser asks: schemes and hosts, of anything but what is in the page itself."""
    asked = set[str]()

    def note(url: str) -> None:
        address = urlsplit(url)
        if address.scheme not in ("blob", "data"):
            asked.add(f"{address.scheme}://{address.netloc}")

    context.on("request", lambda request: note(request.url))
    context.on("page", lambda page: page.on("websocket", lambda socket: note(socket.url)))
    return asked


def test_the_page_asks_its_service_alone(asked: set[str], page: Page, server: Server) -> None:
    choose(page, file(PNG), file(b"no image", "notes.txt"))
    expect_answer(results(page).first)
    page.get_by_role("button", name="Model card").click()
    page.wait_for_load_state("networkidle")
    assert asked == {server.url}


def test_the_description_works_without_other_hosts(asked: set[str], context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    page.goto(f"{server.url}/docs")
    operation = page.locator(".opblock-summary-path", has_text="/predict")
    expect(operation).to_be_visible()
    operation.click()
    expect(page.locator(".opblock-body").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert asked == {server.url}


@pytest.fixture
def other() -> Iterator[socket.socket]:
    """Another host, as far as a browser can tell."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize(
    "attempt",
    [
        "fetch('http://OTHER/').catch(() => {})",
        "navigator.sendBeacon('http://OTHER/', 'x')",
        "new WebSocket('ws://OTHER/').close()",
        "Object.assign(new Image(), {src: 'http://OTHER/x.png'})",
        "document.head.append(Object.assign(document.createElement('link'), "
        "{rel: 'stylesheet', href: 'http://OTHER/x.css'}))",
    ],
)
def test_the_policy_keeps_the_page_from_others(page: Page, other: socket.socket, attempt: str) -> None:
    host, port = other.getsockname()
    page.evaluate(
        f"""() => new Promise((resolve) => {{
            document.addEventListener("securitypolicyviolation", () => resolve(), {{once: true}});
            try {{ {attempt.replace("OTHER", f"{host}:{port}")}; }} catch {{ /* The policy's refusal. */ }}
        }})"""
    )
    assert page.evaluate("violations.splice(0).length") >= 1  # Taken out: it was meant.
    with pytest.raises(BlockingIOError):
        other.accept()
