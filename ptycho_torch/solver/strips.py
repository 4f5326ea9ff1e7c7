"""Strips of a canvas, computed one after the other: canvases are large, and there is memory for a few."""

from collections.abc import Iterator
from typing import Final, NamedTuple

ROWS: Final = 256
"""Of a strip."""


class Strip(NamedTuple):
    """Some rows of a canvas."""

    rows: slice
    """That are computed."""
    seen: slice
    """With those around them that they depend on."""
    inner: slice
    """Where the rows are among those seen."""


def strips(height: int, above: int = 0, below: int = 0) -> Iterator[Strip]:
    """The strips of a canvas, each with so many rows above and below it, as far as there are any."""
    for first in range(0, height, ROWS):
        last, top = min(first + ROWS, height), max(first - above, 0)
        seen = slice(top, min(last + below, height))
        yield Strip(slice(first, last), seen, slice(first - top, last - top))
