"""Chromium for tests that look at pages, and where it is looked for."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright, of the extra dev")

_SCRIPT = Path(__file__).parents[1] / "docs" / "settings_picture.py"
_spec = importlib.util.spec_from_file_location(_SCRIPT.stem, _SCRIPT)
assert _spec is not None
assert _spec.loader is not None
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)

NEEDS_BROWSER = [
    pytest.mark.integration,
    pytest.mark.skipif(pages.browser_path() is None, reason="needs Chromium: apt-get install chromium"),
]
"""Marks of a module that opens pages."""
