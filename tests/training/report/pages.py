"""What a browser would make of an HTML page."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements, images, links and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.images: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.add(tag)
        self.ids |= {given["id"]} if "id" in given else set()
        if tag == "img":
            self.images.append((given["src"], given["alt"]))
        if tag == "a":
            self.links.append(given["href"])
        self.loaded += [
            value
            for name, value in given.items()
            if name in ("src", "srcset", "data", "poster", "action") or (name == "href" and tag != "a")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data
        self.loaded += re.findall(r"url\(|@import", data)
