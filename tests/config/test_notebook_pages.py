"""The HTML of settings as a browser shows it, in pages with the rules of the notebooks around it."""

from collections.abc import Iterator
from typing import Any

import pytest

from ptycho.config.canonical import TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from tests.browser import NEEDS_BROWSER, pages

pytestmark = NEEDS_BROWSER

LOOKED_UP = """table => [...table.rows].map(row => {
    const shown = element => {
        const style = getComputedStyle(element), box = element.getBoundingClientRect();
        return {align: style.textAlign, color: style.color, background: style.backgroundColor,
                weight: Number(style.fontWeight), border: style.borderRightWidth,
                left: box.left, top: box.top, bottom: box.bottom, text: element.textContent,
                fits: element.scrollWidth <= element.clientWidth + 1};
    };
    return {row: shown(row), cells: [...row.cells].map(shown)};
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with pages.open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def shown() -> str:
    return PyTorchExecutionConfig(num_workers=4, checkpoint_monitor_metric="a_long_name_" * 8)._repr_html_()


def rows(browser: Any, shown: str, host: str, theme: str) -> list[dict[str, Any]]:
    sheet = browser.new_page(viewport={"width": 900, "height": 1200})
    try:
        sheet.set_content(pages.page(shown, host, theme))
        sheet.mouse.move(200, 200)  # over a row
        return sheet.eval_on_selector("table", LOOKED_UP)
    finally:
        sheet.close()


def channels(colour: str) -> list[float]:
    """Red, green, blue, and what of the page does not show through."""
    found = [float(part) for part in colour.partition("(")[2].rstrip(")").split(",")]
    return found if len(found) == 4 else [*found, 1.0]


def luminance(colour: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(text: str, background: str, page: str) -> float:
    """Contrast of WCAG 2.2, of text on a background that the page may shine through."""
    *over, share = channels(background)
    under = [int(page[at : at + 2], 16) for at in (1, 3, 5)]
    mixed = [share * mine + (1 - share) * its for mine, its in zip(over, under, strict=True)]
    lighter, darker = sorted((luminance(channels(text)[:3]), luminance(mixed)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", pages.THEMES)
@pytest.mark.parametrize("host", pages.HOSTS)
def test_the_table_looks_the_same_in_every_host(browser: Any, shown: str, host: str, theme: str) -> None:
    found = rows(browser, shown, host, theme)
    background, text = pages.THEMES[theme]
    for row in found:
        for cell in row["cells"]:
            assert cell["align"] == "left", cell
            assert cell["border"] == "0px", cell
            assert cell["fits"], cell
            assert channels(cell["color"])[:3] == [int(text[at : at + 2], 16) for at in (1, 3, 5)]
            assert contrast(cell["color"], row["row"]["background"], background) >= 4.5
    marked = [row for row in found if row["cells"][0]["text"].startswith("* ")]
    plain = [row for row in found if len(row["cells"]) == 4 and row not in marked][1:]
    assert [row["cells"][0]["text"] for row in marked] == ["* num_workers", "* checkpoint_monitor_metric"]
    assert {row["row"]["background"] for row in plain} == {"rgba(0, 0, 0, 0)"}
    assert {row["row"]["background"] for row in marked} == {"rgba(64, 128, 255, 0.2)"}
    assert {cell["weight"] for row in marked for cell in row["cells"]} == {700}
    assert {cell["weight"] for row in plain for cell in row["cells"]} == {400}


@pytest.mark.parametrize("host", pages.HOSTS)
def test_headings_stand_over_their_rows(browser: Any, host: str) -> None:
    found = rows(browser, TrainingConfig()._repr_html_(), host, "light")
    headings = [at for at, row in enumerate(found) if len(row["cells"]) == 1]
    assert [found[at]["cells"][0]["text"] for at in headings][:1] == ["training"]
    for at in headings:
        heading, below = found[at]["cells"][0], found[at + 1]["cells"][0]
        assert heading["left"] == below["left"]
        assert heading["bottom"] <= below["top"] + 1
