"""How often a run stops to write what it has so far."""

import contextlib
import time
from collections.abc import Generator
from typing import Final, Literal

PREVIEW_S: Final = 10.0
"""Seconds from one report of a run under way to the next, at least."""
LEAST_SHARE: Final = 20
"""Between two writes there is no less than so many times what one takes."""


class Pace:
    """When to write next.

    Args:
        every_s: seconds from one write to the next, at least; and to the first.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_s = time.monotonic() + every_s

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() >= self._next_s

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Write meanwhile; the next time follows from how long it takes."""
        begun_s = time.monotonic()
        yield
        now_s = time.monotonic()
        self._next_s = now_s + max(self._every_s, LEAST_SHARE * (now_s - begun_s))


class PreviewPace(Pace):
    """When to write the next preview.

    Args:
        every: epochs or iterations from one to the next; 0 for none; auto for `PREVIEW_S`, and no more than a share.
    """

    def __init__(self, every: int | Literal["auto"]) -> None:
        super().__init__(PREVIEW_S)
        self._every = every

    def is_due_after(self, n_done: int) -> bool:
        """Whether it is time to write, after so many epochs or iterations."""
        if self._every == "auto":
            return self.is_due
        return self._every > 0 and n_done % self._every == 0
