"""What people do on the page."""

import base64
from typing import Final

from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.images import encode, radiograph

PNG: Final = encode(radiograph(), "PNG")
SMALL: Final = encode(radiograph(160, 150), "JPEG")
NAME: Final = "HONG_GILDONG_19700101.png"


def file(data: bytes, name: str = NAME) -> FilePayload:
    return {"name": name, "mimeType": "", "buffer": data}


def choose(page: Page, *files: FilePayload) -> None:
    page.locator("#files").set_input_files(files)


def drop(page: Page, data: bytes, name: str = NAME) -> None:
    transfer = page.evaluate_handle(
        """([data, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt())], name));
            return transfer;
        }""",
        [base64.b64encode(data).decode(), name],
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("main", event, {"dataTransfer": transfer})


def results(page: Page) -> Locator:
    return page.locator("#results > li")


def expect_answer(result: Locator) -> None:
    expect(result.locator(".heatmap[aria-label]")).to_be_visible()
