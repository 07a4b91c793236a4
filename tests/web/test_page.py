"""The page in a real browser, on a real service."""

import base64
import io
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from tests.app.fakes import FakeEngine
from tests.app.in_process import BlockingEngine, Serve
from tests.app.server import Server
from tests.images import dicom, encode, radiograph
from tests.web.actions import NAME, PNG, SMALL, choose, drop, expect_answer, file, results

DICOM: Final = dicom(
    radiograph(600, 500).astype("uint16") * 16, bits_stored=12, photometric_interpretation="MONOCHROME1"
)
OPACITY_OF_EXPLAIN: Final = 0.6


def percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def test_a_dropped_image_is_answered_as_the_interface_answers_it(page: Page, server: Server) -> None:
    drop(page, PNG)
    result = results(page)
    expect_answer(result)
    answer = server.client.post("/predict", content=PNG).json()
    expect(result.locator(".name")).to_have_text(NAME)
    expect(result.locator(".decision strong")).to_have_text(answer["label"])
    for name, probability in answer["probabilities"].items():
        meter = page.get_by_role("meter", name=f"Probability of {name}")
        assert float(meter.get_attribute("aria-valuenow") or "nan") == pytest.approx(100 * probability, abs=0.01)
        expect(result.locator(".bar").filter(has=meter)).to_contain_text(percent(probability))
    expect(result.get_by_text(f"threshold {percent(answer['threshold'])}")).to_be_visible()
    expect(result.locator(".fact-image")).to_have_text("PNG, 200 × 256 pixels, 8 bits")  # noqa: RUF001
    expect(result.locator(".warnings li")).to_have_count(len(answer["warnings"]))
    expect(page.locator("#spoken")).to_contain_text(f"{NAME}: {answer['label']}.")


def test_bar_and_threshold_stand_where_they_should(page: Page, server: Server) -> None:
    page.emulate_media(reduced_motion="reduce")
    choose(page, file(PNG))
    expect_answer(results(page))
    answer = server.client.post("/predict", content=PNG).json()

    def box(selector: str) -> dict[str, float]:
        found: Any = results(page).locator(selector).first.bounding_box()
        return found

    track, fill, threshold = box(".bar-track"), box(".bar-fill"), box(".bar-threshold")
    assert fill["width"] / track["width"] == pytest.approx(answer["probabilities"]["COVID-19"], abs=0.01)
    centre = threshold["x"] + threshold["width"] / 2 - track["x"]
    assert centre / track["width"] == pytest.approx(answer["threshold"], abs=0.01)


@pytest.mark.parametrize(
    ("probability", "threshold", "shown"),
    [
        (0.33844, 0.33845, ("33.844%", "33.845%")),
        (0.99996, 0.5, (">99.9%", "50.0%")),
        (0.00004, 0.5, ("<0.1%", "50.0%")),
        (1, 0.5, ("100.0%", "50.0%")),
    ],
)
def test_rounding_decides_nothing(
    page: Page, server: Server, probability: float, threshold: float, shown: tuple[str, str]
) -> None:
    answer = server.client.post("/predict?explain=true&preview=true", content=PNG).json()
    changes = {"probabilities": {"non-COVID": 1 - probability, "COVID-19": probability}, "threshold": threshold}
    page.route("**/predict?*", lambda route: route.fulfill(json={**answer, **changes}))
    choose(page, file(PNG))
    meter = results(page).get_by_role("meter", name="Probability of COVID-19")
    expect(meter).to_have_attribute("aria-valuetext", "{}, threshold {}".format(*shown))


def test_the_name_of_a_file_stays_in_the_browser(page: Page, server: Server) -> None:
    sent = list[Request]()
    page.on("request", lambda request: sent.append(request))
    choose(page, file(PNG))
    expect_answer(results(page))
    [upload] = [request for request in sent if request.method == "POST"]
    headers = upload.all_headers()
    assert headers["content-type"] == "application/octet-stream"
    assert int(headers["content-length"]) == len(PNG)  # The bytes and nothing beside them.
    assert not any("GILDONG" in text for text in (upload.url, *headers.values()))
    assert {request.url.split(":")[0] for request in sent} <= {"http", "blob", "data"}
    assert all(request.url.startswith(server.url) for request in sent if request.url.startswith("http"))


def test_the_heatmap_is_that_of_explain(page: Page, server: Server) -> None:
    data = encode(radiograph(320, 256), "PNG")  # One of which the shipped model finds something to show.
    choose(page, file(data))
    expect_answer(results(page))
    assert_drawn_as_explain(page, server.client.post("/explain", content=data).content)


@pytest.mark.parametrize("shape", [(301, 200), (200, 301), (256, 200)], ids=["portrait", "landscape", "the usual"])
def test_the_part_that_the_model_saw_is_outlined(context: BrowserContext, serve: Serve, shape: tuple[int, int]) -> None:
    """And the heatmap lies over it, as that of ``POST /explain`` does."""
    data = encode(radiograph(*shape), "PNG")
    with serve(FakeEngine, described={"preprocessing_version": 2}) as service:
        page = context.new_page()
        page.goto(str(service.base_url))
        choose(page, file(data))
        expect_answer(results(page))
        expect(page.locator(".seen")).to_be_visible()
        expect(results(page)).to_contain_text("The model saw the outlined part alone")
        film, seen = (page.locator(selector).bounding_box() for selector in (".film", ".seen"))
        assert film
        assert seen
        height, width = shape
        side, longest = min(shape), max(shape)
        expected = {
            "x": film["x"] + film["width"] * ((width - side) // 2 + (longest - width) / 2) / longest,
            "y": film["y"] + film["height"] * ((height - side) // 2 + (longest - height) / 2) / longest,
            "width": film["width"] * side / longest,
            "height": film["height"] * side / longest,
        }
        assert seen == pytest.approx(expected, abs=0.1)
        assert_drawn_as_explain(page, service.post("/explain", content=data).content)


@pytest.mark.parametrize(("shape", "version"), [((301, 200), 1), ((200, 200), 2)], ids=["version 1", "a square image"])
def test_nothing_is_outlined_where_the_model_saw_all(
    context: BrowserContext, serve: Serve, shape: tuple[int, int], version: int
) -> None:
    data = encode(radiograph(*shape), "PNG")
    with serve(FakeEngine, described={"preprocessing_version": version}) as service:
        page = context.new_page()
        page.goto(str(service.base_url))
        choose(page, file(data))
        expect_answer(results(page))
        expect(page.locator(".seen")).to_be_hidden()
        expect(page.locator(".seen-note")).to_be_hidden()
        assert_drawn_as_explain(page, service.post("/explain", content=data).content)


def assert_drawn_as_explain(page: Page, overlay: bytes) -> None:
    """Hold the page's only answered image, with its heatmap, to what ``POST /explain`` answers."""
    drawn = page.evaluate(
        """(opacity) => {
            const heatmap = document.querySelector(".heatmap");
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [heatmap.width, heatmap.height];
            const context = canvas.getContext("2d");
            context.drawImage(document.querySelector(".film img"), 0, 0);
            context.globalAlpha = opacity;
            context.drawImage(heatmap, 0, 0);
            return canvas.toDataURL().split(",")[1];
        }""",
        OPACITY_OF_EXPLAIN,
    )
    pixels, expected = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16) for data in (base64.b64decode(drawn), overlay)
    )
    assert np.abs(pixels - expected).max() <= 6  # roundings of either side, up to 3 each
    assert expected.std(axis=2).max() > 50  # There is something to compare: a place in colour.


def test_the_slider_sets_the_heatmap_s_opacity(page: Page) -> None:
    choose(page, file(PNG))
    expect_answer(results(page))
    slider = results(page).get_by_role("slider", name="Heatmap opacity")
    for key, opacity in (("Home", 0), ("End", 1), ("ArrowLeft", 0.95)):
        slider.press(key)
        expect(page.locator(".heatmap")).to_have_css("opacity", f"{opacity:g}")
        expect(results(page).locator("output")).to_have_text(f"{round(100 * opacity)}%")


def test_dicom_is_shown_as_the_service_decoded_it(page: Page, server: Server) -> None:
    choose(page, file(DICOM, "IM-0001"))
    expect_answer(results(page))
    expect(results(page).locator(".fact-image")).to_have_text("DICOM MONOCHROME1, 500 × 600 pixels, 12 bits")  # noqa: RUF001
    image = page.locator(".film img")
    assert image.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [427, 512]
    preview = server.client.post("/predict?preview=true", content=DICOM).json()["preview"]
    expect(image).to_have_attribute("src", f"data:image/png;base64,{preview}")
    expect(image).to_have_attribute("alt", "The image as the service read it")


def test_several_files_each_get_their_own(page: Page, server: Server) -> None:
    choose(page, file(PNG, "a.png"), file(b"not an image", "notes.txt"), file(SMALL, "b.jpg"))
    expect(page.locator("#summary")).to_have_text("Images: 3. Answered: 2. Not answered: 1. In progress: 0.")
    expect(results(page).locator(".name")).to_have_text(["a.png", "notes.txt", "b.jpg"])
    refusal = server.client.post("/predict", content=b"not an image").json()
    expect(results(page).nth(1).locator(".refusal-detail")).to_have_text(refusal["detail"])
    expect(results(page).nth(1).locator(".refusal-detail")).to_have_attribute("lang", "en")
    expect(results(page).nth(1).locator(".refusal-code")).to_contain_text("unsupported_format, request ")
    expect(results(page).nth(1).get_by_role("button", name="Try notes.txt again")).to_be_hidden()
    expect(page.locator("#spoken")).to_contain_text("notes.txt: Not an image that the service reads.")
    expect(results(page).nth(2).locator(".warnings")).to_contain_text("Warning The image is 150 x 160 pixels")
    expect(page.locator("#spoken")).to_contain_text("Not a diagnosis. Warnings: 1.")


def test_results_can_be_removed(page: Page) -> None:
    choose(page, *(file(b"not an image", f"{number}.txt") for number in range(4)))
    expect(page.locator(".refusal:visible")).to_have_count(4)
    page.get_by_role("button", name="Remove 1.txt").click()
    expect(results(page).locator(".name")).to_have_text(["0.txt", "2.txt", "3.txt"])
    expect(page.get_by_role("button", name="Remove 2.txt")).to_be_focused()
    page.get_by_role("button", name="Remove 3.txt").click()
    expect(page.get_by_role("button", name="Remove 2.txt")).to_be_focused()
    page.get_by_role("button", name="Remove all").click()
    expect(results(page)).to_have_count(0)
    expect(page.locator("#files")).to_be_focused()
    expect(page.locator("#summary")).to_have_text("No image yet.")


def test_more_files_than_the_page_holds_are_left_out_and_counted(page: Page) -> None:
    page.route("**/predict?*", lambda route: route.abort())
    choose(page, *(file(b"", f"{number}") for number in range(103)))
    expect(page.locator(".refusal:visible")).to_have_count(100)
    expect(results(page)).to_have_count(100)
    expect(page.get_by_role("alert")).to_have_text(
        "Files left out: 3. The page holds 100 images at a time: remove some first."
    )


def test_the_model_and_its_card_are_shown(page: Page, server: Server) -> None:
    model = server.client.get("/model").json()
    expect(page.locator("#model-name")).to_have_text("{name}, version {version}".format_map(model["metadata"]))
    expect(page.locator("#model-note")).to_have_text(model["metadata"]["note"])
    expect(page.locator("#model-digest")).to_have_text(model["digest"][:12])
    expect(page.locator("#open-data-card")).to_be_visible(visible=model["data_card"] is not None)
    page.locator("#open-card").click()
    card = page.locator("#card-text")
    headings = [line.lstrip("# ") for line in model["card"].splitlines() if line.startswith("#")]
    expect(card.get_by_role("heading")).to_have_text(headings)
    rows = [line for line in model["card"].splitlines() if line.startswith("|") and "---" not in line]
    expect(card.get_by_role("row")).to_have_count(len(rows))
    words = card.inner_text()
    assert not [mark for mark in ("**", "| ", "## ") if mark in words]


def test_the_data_card_and_the_reliability_diagram_are_shown(page: Page, server: Server) -> None:
    share = {"value": 0.25, "low": 0.0, "high": 0.5}
    few, many = ({"images": n, "mean_probability": mean, "share": share} for n, mean in ((4, 0.2), (60, 0.8)))
    model = server.client.get("/model").json() | {
        "card": "# Model card\n\n## Results\n\n### Calibration\n\nIn words.",
        "data_card": "# Data card\n\n| source | images |\n| --- | --- |\n| \\*north\\* \\| `a\\_b` | 3 "
        "|\n\n**not\\_known**",
    }
    model["metadata"]["metrics"] = {"test": {"calibration": [few, many]}}
    page.route("**/model", lambda route: route.fulfill(json=model))
    page.reload()
    page.locator("#open-card").click()
    diagram = page.get_by_role("img", name="How often images of about one probability")
    expect(diagram).to_be_visible()
    expect(page.locator("h5:text('Calibration') + figure")).to_have_count(1)
    frame: Any = diagram.locator(".frame").bounding_box()
    dots: Any = [dot.bounding_box() for dot in diagram.locator(".bin").all()]
    for dot, mean in zip(dots, (0.2, 0.8), strict=True):
        across, up = (
            dot["x"] + dot["width"] / 2 - frame["x"],
            frame["y"] + frame["height"] - dot["y"] - dot["height"] / 2,
        )
        assert across / frame["width"] == pytest.approx(mean, abs=0.02)
        assert up / frame["height"] == pytest.approx(0.25, abs=0.02)
    assert dots[0]["width"] < dots[1]["width"]
    page.get_by_role("button", name="Close").click()
    page.locator("#open-data-card").click()
    expect(page.get_by_role("dialog", name="Data card")).to_be_visible()
    expect(page.get_by_role("cell", name="*north* | a\\_b")).to_be_visible()  # Within code a backslash is one.
    expect(page.locator("#card-text strong")).to_have_text("not_known")
    expect(diagram).to_have_count(0)


def test_the_copied_command_gets_an_answer(context: BrowserContext, page: Page, server: Server, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    command = page.evaluate("navigator.clipboard.readText()")
    assert server.url in command
    (tmp_path / "image.dcm").write_bytes(DICOM)
    subprocess.run([*shlex.split(command), "-sS", "--fail"], cwd=tmp_path, capture_output=True, check=True)


def test_copying_works_without_https_too(page: Page) -> None:
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    assert page.evaluate("getSelection().toString()") == page.locator("#command").inner_text()


def test_a_proxy_may_give_the_page_a_path(context: BrowserContext, server: Server) -> None:
    def forward(route: Route) -> None:
        route.continue_(url=route.request.url.replace("/cxr/", "/"))

    context.route(f"{server.url}/cxr/**", forward)
    page = context.new_page()
    page.goto(f"{server.url}/cxr/")
    choose(page, file(PNG))
    expect_answer(results(page))
    expect(page.locator("#model-name")).to_be_visible()
    expect(page.locator("#command")).to_contain_text(f"{server.url}/cxr/predict?")


def test_a_busy_service_is_tried_again(context: BrowserContext, serve: Serve) -> None:
    engine = BlockingEngine()
    with serve(lambda: engine, max_queue=1) as service:
        page = context.new_page()
        page.goto(str(service.base_url))
        choose(page, file(PNG, "a.png"), file(PNG, "b.png"), file(PNG, "c.png"))
        expect(page.get_by_text("The service is busy. Next try in 1 s.")).to_have_count(2)
        engine.gate.opened.set()
        expect(page.locator("#summary")).to_have_text("Images: 3. Answered: 3. Not answered: 0. In progress: 0.")


def test_a_service_that_cannot_be_reached_can_be_tried_again(page: Page) -> None:
    page.route("**/predict?*", lambda route: route.abort())
    choose(page, file(PNG))
    expect(results(page)).to_contain_text("The service cannot be reached")
    page.unroute_all()
    page.get_by_role("button", name=f"Try {NAME} again").click()
    expect_answer(results(page))


def test_a_file_that_vanished_is_named_as_such(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "chest.png"
    path.write_bytes(PNG)
    # Chosen, but held back until it is gone, and then taken like one that is dropped.
    page.evaluate(
        "document.getElementById('files').addEventListener('change', (e) => e.stopImmediatePropagation(), true)"
    )
    page.locator("#files").set_input_files(path)
    path.unlink()
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            for (const file of document.getElementById("files").files) transfer.items.add(file);
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, cancelable: true}));
        }"""
    )
    expect(results(page)).to_contain_text("The file cannot be read")


def test_a_key_is_asked_for_where_the_service_wants_one(page: Page) -> None:
    problem = '{"code": "missing_key", "detail": "Send a key.", "request_id": "1"}'

    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer right":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/problem+json", body=problem)

    expect(page.locator("#key-form")).to_be_hidden()
    page.route("**/predict?*", guard)
    choose(page, file(PNG))
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    expect(results(page)).to_contain_text("Send a key.")
    for key in ("wrong", "right"):
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        if key == "wrong":
            expect(page.locator("#key-note")).to_contain_text("did not accept this key")
    expect_answer(results(page))
    expect(page.locator("#key-form")).to_be_hidden()
    expect(page.locator("#command")).to_contain_text("Authorization: Bearer $CXR_API_KEY")
    assert page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])") == '[{},{},""]'
