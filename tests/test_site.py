"""The site of the documentation, as `make docs` builds it and a browser shows it from the disk."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import NEEDS_BROWSER, pages

pytest.importorskip("mkdocs", reason="needs the extra 'docs'")
pytestmark = NEEDS_BROWSER

ROOT = Path(__file__).resolve().parent.parent
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def open_page(site: Path) -> Iterator[Open]:
    """Open a page; what it asks the network for, or complains of, fails the test."""
    complaints: list[str] = []
    with pages.open_browser() as browser:

        def opened(name: str, scheme: str = "light") -> Any:
            sheet = browser.new_context(color_scheme=scheme).new_page()
            sheet.on("console", lambda message: complaints.append(message.text))
            sheet.on("pageerror", lambda error: complaints.append(str(error)))
            sheet.on("request", lambda asked: complaints.extend([asked.url] * asked.url.startswith("http")))
            sheet.goto((site / name).as_uri())
            return sheet

        yield opened
    assert not complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(open_page: Open, scheme: str) -> None:
    """On pages that have between them all that pages are made of."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe, of the extra dev")
    names = (
        "index",
        "docs/api",
        "docs/configuration",
        "docs/gallery",
        "docs/settings",
        "examples/first_reconstruction",
    )
    for name in names:
        sheet = open_page(f"{name}.html", scheme)
        # axe would load style sheets again, which a page on the disk may not
        found = (
            axe.Axe()
            .run(sheet, options={"preload": False, "resultTypes": ["violations"]})
            .response["violations"]
        )
        assert [(name, one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] != "minor"] == []


@pytest.mark.parametrize("width", [390, 1000, 1200, 1440, 1920])
def test_names_and_values_of_settings_are_whole(open_page: Open, width: int) -> None:
    """In the tables of settings each is on one line; but on a phone, all of each table is seen without scrolling."""
    sheet = open_page("docs/settings.html")
    sheet.set_viewport_size({"width": width, "height": 900})
    cells = sheet.locator(".md-typeset__table td code")
    assert cells.count() > 200
    broken = "all => all.filter(one => one.getClientRects().length > 1).map(one => one.innerText)"
    assert cells.evaluate_all(broken) == []
    hidden = sheet.locator(".md-typeset__scrollwrap").evaluate_all(
        "all => Math.max(...all.map(one => one.scrollWidth - one.clientWidth))"
    )
    assert width < 1000 or hidden == 0


def test_settings_are_found_by_the_words_of_their_rows(open_page: Open) -> None:
    sheet = open_page("docs/settings.html")
    field = sheet.get_by_label("Show settings with")
    n_rows = sheet.locator(".md-typeset tbody tr").count()
    field.fill("probe MODES")
    shown = sheet.locator(".md-typeset tbody tr:visible").all_inner_texts()
    assert 0 < len(shown) < 20
    assert any(text.startswith("probe_modes") for text in shown)
    assert all("probe" in text.lower() and "modes" in text.lower() for text in shown)
    assert f"{len(shown)} of {n_rows}" in sheet.locator(".settings-filter").inner_text()
    field.fill("")
    assert sheet.locator(".md-typeset tbody tr:visible").count() == n_rows


def test_search_works_without_a_server(open_page: Open) -> None:
    sheet = open_page("docs/solver.html")
    field = sheet.get_by_role("textbox", name="Search")
    field.click()
    sheet.get_by_text("Type to start searching").wait_for()  # the index is there
    field.press_sequentially("RawData")
    sheet.locator(".md-search-result__link[href*='docs/api.html']").first.wait_for()
