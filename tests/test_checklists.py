"""The checklists go through every item, and what they point to is there."""

import re
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from app.artifact import Metadata
from tests.app import fakes
from tests.app.server import ROOT
from tests.training.folders import write_folder
from training.breakdown import break_down
from training.card import model_card
from training.card_facts import CardFacts
from training.data_card import data_card
from training.data_facts import measure_data
from training.manifest import Record, read_manifest

DOCUMENT: Final = ROOT / "docs/checklists.md"
TEXT: Final = DOCUMENT.read_text(encoding="utf-8")

CLAIM_ITEMS: Final = [str(number) for number in range(1, 45)]
"""Source: CLAIM 2024 update, doi:10.1148/ryai.240300."""

TRIPOD_ITEMS: Final = [
    *(
        "1",
        "2",
        "3a",
        "3b",
        "3c",
        "4",
        "5a",
        "5b",
        "6a",
        "6b",
        "6c",
        "7",
        "8a",
        "8b",
        "8c",
        "9a",
        "9b",
        "9c",
        "10",
        "11",
    ),
    *("12a", "12b", "12c", "12d", "12e", "12f", "12g", "13", "14", "15", "16", "17"),
    *("18a", "18b", "18c", "18d", "18e", "18f", "19", "20a", "20b", "20c", "21", "22", "23a", "23b", "24", "25", "26"),
    *("27a", "27b", "27c"),
]
"""Source: TRIPOD+AI, doi:10.1136/bmj-2023-078378: 27 items, 52 with their parts."""


def rows(title: str) -> list[list[str]]:
    section = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def anchors(path: Path) -> set[str]:
    """Name a document's headings as GitHub does."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("title", "items"), [("CLAIM", CLAIM_ITEMS), ("TRIPOD+AI", TRIPOD_ITEMS)])
def test_every_item_is_there_once_and_says_something(title: str, items: list[str]) -> None:
    found = rows(title)
    assert [number for number, _, _ in found] == items
    for number, what, where in found:
        assert what, number
        assert len(where) > 3, number


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_every_link_leads_to_a_file_and_a_heading(link: str) -> None:
    name, _, anchor = link.partition("#")
    path = (DOCUMENT.parent / name).resolve()
    assert path.is_file()
    assert path.is_relative_to(ROOT)
    assert anchor in anchors(path)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(training/[\w/.]+)`", TEXT))))
def test_every_path_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def headings(markdown: str) -> set[str]:
    return {line.removeprefix("## ") for line in markdown.splitlines() if line.startswith("## ")}


def named(card: str) -> set[str]:
    return set(re.findall(rf"\*{card} card: ([^*]+)\*", TEXT))


def test_the_model_cards_sections_are_there() -> None:
    records = [Record(f"{i}.png", i % 2, f"g{i}", "here", "CC0", "") for i in range(8)]
    measured = break_down(records, np.linspace(0, 1, 8), 0.5)
    metrics = {"validation": measured, "test": measured, "trivial_rules": {}}
    facts = CardFacts(
        network="", training="", stages=[], chosen_by="", images=8, grouped=True, parts={}, sources={}, licences={}
    )
    card = model_card(Metadata.model_validate(fakes.metadata(metrics=metrics)), facts)
    assert named("model") <= headings(card)


def test_the_data_cards_sections_are_there(tmp_path: Path) -> None:
    assert named("data") <= headings(data_card(measure_data(read_manifest(write_folder(tmp_path)), 7)))
