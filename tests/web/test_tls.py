"""The page as others reach it: through Caddy, with a key."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from app.keys import make_key
from tests.app.server import Server
from tests.deploy.caddy import Caddy, needs_caddy
from tests.web.actions import PNG, choose, expect_answer, file, results


@needs_caddy
def test_page_asks_for_the_key_once(browser: Browser, tmp_path: Path, cache_dir: Path) -> None:
    key, line = make_key("radiology")
    (tmp_path / "keys").write_text(f"{line}\n")
    with (
        Server(api_keys_file=tmp_path / "keys", cache_dir=cache_dir) as server,
        Caddy(server, tmp_path) as caddy,
        browser.new_context(ignore_https_errors=True, locale="en-GB") as context,
    ):
        page = context.new_page()
        page.goto(caddy.url)
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use key").click()
        expect(page.locator("#key-form")).to_be_hidden()
        choose(page, file(PNG), file(PNG, "another.png"))
        for result in results(page).all():
            expect_answer(result)
        expect(page.locator("#model")).to_be_visible()
        page.goto(f"{caddy.url}/docs")
        page.get_by_role("button", name="Authorize").click()
        expect(page.get_by_text("Asked for where the service has keys")).to_be_visible()
