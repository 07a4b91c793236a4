"""The page for everybody: languages, keyboard, contrast, widths."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.web.actions import NAME, PNG, SMALL, choose, expect_answer, file, results

WIDTHS: Final = (360, 768, 1280)


@pytest.mark.parametrize("locale", ["ko-KR"])
def test_korean(page: Page) -> None:
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page).to_have_title("흉부 X선 COVID-19 분류기")
    expect(page.get_by_role("note")).to_have_text("연구 목적으로만 사용하십시오. 진단이 아닙니다.")
    choose(page, file(PNG), file(b"not an image", "notes.txt"))
    expect_answer(results(page).first)
    expect(results(page).first.get_by_role("meter", name="COVID-19 확률")).to_be_visible()
    expect(results(page).last).to_contain_text("서비스가 읽을 수 있는 영상이 아닙니다")
    visible = page.locator("body").inner_text()
    assert not [word for word in ("Threshold", "Remove", "Choose", "Copy", "Heatmap", "Results") if word in visible]


def test_a_switch_of_the_language_changes_words_alone(page: Page) -> None:
    choose(page, file(PNG))
    expect_answer(results(page))
    results(page).get_by_role("slider").press("End")
    page.get_by_role("button", name="한국어").click()
    expect(page.get_by_role("button", name="한국어")).to_have_attribute("aria-pressed", "true")
    expect(results(page).get_by_role("slider", name="히트맵 불투명도")).to_have_value("100")
    expect(results(page).get_by_role("button", name=f"{NAME} 제거")).to_be_visible()
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("note")).to_have_text("Research use only. Not a diagnosis.")


def test_languages_say_the_same_things_with_the_same_values(page: Page) -> None:
    languages = page.evaluate("import('/web/messages.js').then(({MESSAGES}) => MESSAGES)")
    assert set(languages) == {"en", "ko"}

    def places(text: str) -> list[str]:
        return sorted(part.split("}")[0] for part in text.split("{")[1:])

    for one, other in pairwise(languages.values()):
        assert {key: places(text) for key, text in one.items()} == {key: places(text) for key, text in other.items()}
    named = page.evaluate("[...document.querySelectorAll('[data-say]')].map((element) => element.dataset.say)")
    assert set(named) <= set(languages["en"])


def test_everything_works_by_keyboard(page: Page) -> None:
    choose(page, file(PNG))
    expect_answer(results(page))
    page.wait_for_selector("#model:visible")
    data_card = page.get_by_role("button", name="Data card")
    stops = (
        page.get_by_role("button", name="English"),
        page.get_by_role("button", name="한국어"),
        page.get_by_label("Choose images"),
        page.get_by_role("button", name=f"Remove {NAME}"),
        page.get_by_role("slider", name="Heatmap opacity"),
        page.get_by_role("button", name="Model card"),
        *([data_card] if data_card.is_visible() else []),
        page.locator("pre"),
        page.get_by_role("button", name="Copy"),
        page.get_by_role("link", name="Interface description"),
    )
    page.locator("body").focus()
    for stop in stops:
        page.keyboard.press("Tab")
        expect(stop).to_be_focused()
        shown = "(stop) => [stop, stop.parentElement].some((at) => getComputedStyle(at).outlineWidth === '3px')"
        assert stop.evaluate(shown), "Where the focus is must be seen."
    page.get_by_role("button", name="Model card").press("Enter")
    expect(page.get_by_role("dialog", name="Model card")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Model card")).to_be_focused()
    page.get_by_role("button", name=f"Remove {NAME}").press("Enter")
    expect(results(page)).to_have_count(0)


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


CONTRASTS: Final = """[...document.querySelectorAll("body *")]
    .filter((element) => element.checkVisibility({visibilityProperty: true}))
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((element) => {
        const colour = (at) => getComputedStyle(at).backgroundColor;
        let behind = element;
        while (colour(behind) === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
        return [element.textContent, getComputedStyle(element).color, colour(behind)];
    })"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark_at_every_width(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    choose(page, file(SMALL), file(b"not an image", "a-long-name" * 20))
    expect_answer(results(page).first)
    page.wait_for_selector("#model:visible")
    body = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(body) < 0.1) == (scheme == "dark")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 20
    for text, *colours in contrasts:
        low, high = sorted(map(luminance, colours))
        assert (high + 0.05) / (low + 0.05) >= 4.5, text  # WCAG 2.2, 1.4.3
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("scrollTo(0, 1e9)")
        expect(page.get_by_role("note")).to_be_in_viewport(ratio=1)
