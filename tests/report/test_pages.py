"""Reports as a browser shows them: without errors, with a keyboard, light and dark, narrow and wide."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.report.page import comparison_page
from tests.browser import NEEDS_BROWSER, pages
from tests.report.conftest import HOSTILE

pytestmark = NEEDS_BROWSER

KINDS = ("solved", "pictured", "trained", "compared")
FAINT_TEXTS = """() => {
    const number = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const luminance = colour => colour.slice(0, 3).map(v => v / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const over = (top, under) => top.slice(0, 3).map((c, i) => (top[3] ?? 1) * c + (1 - (top[3] ?? 1)) * under[i]);
    const behind = element => {
        const layers = [];
        for (let one = element; one; one = one.parentElement)
            layers.push(number(getComputedStyle(one).backgroundColor));
        return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
    };
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement, style = getComputedStyle(element);
        if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.tagName === "SCRIPT")
            continue;
        const inDrawing = element.closest("svg");
        const [text, under] = [number(inDrawing ? style.fill : style.color), behind(element)].map(luminance);
        const contrast = (Math.max(text, under) + 0.05) / (Math.min(text, under) + 0.05);
        if (contrast < 4.5) found.push([contrast, element.tagName, walker.currentNode.textContent.slice(0, 40)]);
    }
    return found;
}"""
UNNAMED = """() => [...document.querySelectorAll("img, svg[role], button, [tabindex]:not(pre), table")]
    .filter(one => !(one.alt || one.ariaLabel || one.textContent.trim())).map(one => one.outerHTML.slice(0, 80))"""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with pages.open_browser() as opened:
        yield opened


@pytest.fixture
def page_of(browser: Any, home: Path, tmp_path: Path) -> Iterator[Open]:
    """Open a report; whatever it complains of, or asks the network for, fails the test."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def open_page(kind: str, *, width: int = 1200, scheme: str = "light", **options: Any) -> Any:
        path = home / kind / "report.html"
        if kind == "compared":
            path = tmp_path / "compare.html"
            runs = [read_contents(home / one) for one in ("solved", "pictured")]
            path.write_text(comparison_page(runs))
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        contexts.append(context)
        sheet = context.new_page()
        sheet.on("console", lambda message: complaints.append(message.text))
        sheet.on("pageerror", lambda error: complaints.append(str(error)))
        sheet.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        sheet.on(
            "request",
            lambda asked: complaints.extend([asked.url] * (asked.url[:5] not in ("file:", "data:"))),
        )
        sheet.goto(path.as_uri())
        return sheet

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("width", "scheme"), [(400, "light"), (400, "dark"), (2000, "light"), (1200, "dark")]
)
def test_a_page_can_be_read_at_every_width_light_and_dark(
    page_of: Open, kind: str, width: int, scheme: str
) -> None:
    sheet = page_of(kind, width=width, scheme=scheme)
    sheet.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    assert sheet.evaluate("document.documentElement.scrollWidth") <= width
    assert sheet.evaluate(FAINT_TEXTS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_headings_in_order_and_names_for_all_that_is_no_text(page_of: Open, kind: str) -> None:
    sheet = page_of(kind)
    levels = [
        int(tag[1]) for tag in sheet.eval_on_selector_all("h1, h2, h3", "all => all.map(e => e.tagName)")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert sheet.evaluate(UNNAMED) == []
    assert sheet.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_no_fault(page_of: Open, kind: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe, of the extra dev")
    sheet = page_of(kind)
    sheet.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    found = axe.Axe().run(sheet).response["violations"]
    assert [(one["id"], one["help"]) for one in found] == []


@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_hostile_name_stays_text(page_of: Open, kind: str) -> None:
    sheet = page_of(kind)
    sheet.wait_for_timeout(100)
    assert sheet.inner_text("h1").endswith(f" of {HOSTILE}")
    assert len(sheet.query_selector_all("script")) == 1
    assert all(one.get_attribute("src").startswith("data:") for one in sheet.query_selector_all("img"))


def transforms(sheet: Any) -> list[str]:
    return sheet.eval_on_selector_all(".view > img", "all => all.map(one => one.style.transform)")


@pytest.mark.parametrize("kind", ["solved", "compared"])
def test_the_keyboard_zooms_and_moves_all_pictures_together(page_of: Open, kind: str) -> None:
    sheet = page_of(kind)
    sheet.wait_for_function("document.querySelector('.view > img').style.transform")
    whole = transforms(sheet)
    sheet.keyboard.press("Tab")
    assert sheet.evaluate("document.activeElement.className") == "view"
    seen = [whole]
    for key in ("+", "ArrowRight", "ArrowDown", "-"):
        sheet.keyboard.press(key)
        seen.append(transforms(sheet))
        assert all(now != before for now, before in zip(seen[-1], seen[-2], strict=True)), key
        assert "row " in sheet.inner_text("output")
    sheet.keyboard.press("0")
    assert transforms(sheet) == whole


def test_buttons_zoom(page_of: Open) -> None:
    sheet = page_of("solved")
    sheet.wait_for_function("document.querySelector('.view > img').style.transform")
    whole, bar = transforms(sheet), sheet.inner_text(".bar span")
    for _ in range(6):
        sheet.get_by_role("button", name="Zoom in").first.click()
    assert transforms(sheet) != whole
    assert sheet.inner_text(".bar span") != bar
    sheet.get_by_role("button", name="Show all").last.click()
    assert transforms(sheet) == whole


def test_the_value_under_the_pointer_is_that_of_the_object(page_of: Open, home: Path) -> None:
    with np.load(home / "solved" / "reconstruction.npz") as found:
        amplitude = np.abs(found["object"])
    sheet = page_of("solved")
    box = sheet.locator(".view").first
    box.scroll_into_view_if_needed()
    place = box.bounding_box()
    checked = 0
    for across, down in ((0.5, 0.5), (0.45, 0.55), (0.55, 0.4)):
        sheet.mouse.move(place["x"] + across * place["width"], place["y"] + down * place["height"])
        told = sheet.locator("output").first.inner_text()
        where, _, value = told.partition(": ")
        row, column = (int(part.rpartition(" ")[2]) for part in where.split(", "))
        if value[0].isdigit():
            step = float(np.ptp(amplitude)) / 100
            assert float(value.removesuffix(" transmission")) == pytest.approx(
                amplitude[row, column], abs=step
            )
            checked += 1
    assert checked


def test_without_scripts_the_pictures_are_there(page_of: Open) -> None:
    sheet = page_of("solved", java_script_enabled=False)
    shown = [one.bounding_box() for one in sheet.query_selector_all(".view > img")]
    assert [box["width"] > 20 and box["height"] > 20 for box in shown] == [True, True]
    assert not sheet.locator(".tools").first.is_visible()
