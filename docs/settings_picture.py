"""Draw docs/images/settings.png, settings as a notebook shows them: `python docs/settings_picture.py`.

The page has the rules for tables that notebooks have. Chromium draws it (`apt-get install chromium`); the tests look at
the same pages.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptycho.config.execution import PyTorchExecutionConfig

IMAGE = Path(__file__).parent / "images" / "settings.png"
SIZE = {"width": 1600, "height": 640}
"""Of the picture, in pixels."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
THEMES = {"light": ("#ffffff", "#212121"), "dark": ("#111111", "#e0e0e0")}
"""Theme -> background and text of the page."""
RULES = """
.{0} table {{ border: 2px solid red; border-collapse: separate; color: {2}; font-size: 12px; table-layout: fixed;
    margin-left: auto; margin-right: auto; width: 100%; }}
.{0} thead {{ border-bottom: 1px solid black; vertical-align: bottom; }}
.{0} tr, .{0} th, .{0} td {{ text-align: right; vertical-align: middle; padding: 0.5em; line-height: normal;
    white-space: nowrap; max-width: 60px; border: 1px solid red; }}
.{0} th {{ font-weight: bold; text-align: center; }}
.{0} tbody tr:nth-child(odd) {{ background: {3}; }}
.{0} tbody tr:hover {{ background: #66bb6a; }}
"""
"""How JupyterLab, the classic notebook and VS Code set tables, and somewhat worse."""
HOSTS = {
    "JupyterLab": "jp-RenderedHTMLCommon",
    "classic notebook": "rendered_html",
    "VS Code": "output",
    "exported page": "",
}
"""Host -> the class that it puts around what a cell shows."""


def page(shown: str, host: str, theme: str) -> str:
    """A page of a host around what a cell shows."""
    background, text = THEMES[theme]
    stripes = "#f5f5f5" if theme == "light" else "#333333"
    name = HOSTS[host] or "none"
    rules = RULES.format(name, background, text, stripes) if HOSTS[host] else ""
    body = f"margin:0;padding:12px;background:{background};color:{text};font:13px sans-serif"
    return (
        f'<!doctype html><style>{rules}</style><body style="{body}"><div class="{name}">{shown}</div></body>'
    )


def browser_path() -> str | None:
    """The browser of this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Start the browser of this machine, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        with contextlib.closing(browser):
            yield browser


def main() -> None:
    """Draw the table of a configuration in a light and a dark notebook, side by side."""
    environment = {"PTYCHO_EXEC_NUM_WORKERS": "4", "PTYCHO_EXEC_LEARNING_RATE": "3e-4"}
    config = PyTorchExecutionConfig.resolve(
        arguments={"accelerator": "gpu", "num_workers": 8}, environ=environment
    )
    frames = "".join(
        f'<iframe id="{theme}" style="width:50%;height:100vh;border:0;float:left"></iframe>'
        for theme in THEMES
    )
    with open_browser() as browser:
        sheet = browser.new_page(viewport=SIZE)
        sheet.set_content(f'<body style="margin:0">{frames}</body>')
        for theme in THEMES:
            frame = sheet.query_selector(f"#{theme}").content_frame()
            frame.set_content(page(config._repr_html_(), "JupyterLab", theme))
        sheet.screenshot(path=str(IMAGE))


if __name__ == "__main__":
    main()
