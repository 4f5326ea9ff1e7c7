"""What every test of a real client has: the client, and processes that end."""

import multiprocessing
from collections.abc import Iterator

import pytest

pytest.importorskip("ptychodus", reason="needs the extra: pip install '.[ptychodus]'")


@pytest.fixture(autouse=True)
def _no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "True")  # the application sets it when it starts
    yield
    assert not multiprocessing.active_children()
