"""A file that another process takes away between two looks at it."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LOOKS = ((os, "stat"), (os, "open"), (io, "open"))
"""How Python looks at a file by its name."""


class Looks:
    """How often a file was looked at, and whether it was taken away before one of the looks."""

    n_taken = 0
    is_gone = False


@contextlib.contextmanager
def taken_before(file: Path, look: int) -> Iterator[Looks]:
    """Remove a file before it is looked at by its name for the `look`-th time."""
    looks = Looks()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def inner(path: Any, *values: Any, **options: Any) -> Any:
            if isinstance(path, str | Path) and Path(path) == file:
                looks.n_taken += 1
                if looks.n_taken == look:
                    looks.is_gone = True
                    file.unlink()
            return function(path, *values, **options)

        return inner

    with pytest.MonkeyPatch.context() as patch:
        for module, name in LOOKS:
            patch.setattr(module, name, counting(getattr(module, name)))
        yield looks
