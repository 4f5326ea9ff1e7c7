"""The legacy dictionary, which factories fill (CONFIG-001), and which tests leave as it was."""

import contextlib
from collections.abc import Iterator

from ptycho import params


@contextlib.contextmanager
def legacy_dictionary_restored() -> Iterator[dict[str, object]]:
    """Put it back as it was at the end."""
    kept = dict(params.cfg)
    try:
        yield params.cfg
    finally:
        params.cfg.clear()
        params.cfg.update(kept)
