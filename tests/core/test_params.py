"""The legacy dictionary."""

import pytest

from ptycho import params


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(params, "cfg", {})


def test_what_is_set_can_be_got():
    params.set("intensity_scale", 12.5)
    assert params.get("intensity_scale") == 12.5
    assert params.cfg == {"intensity_scale": 12.5}


def test_a_missing_parameter_is_a_key_error():
    with pytest.raises(KeyError, match="intensity_scale"):
        params.get("intensity_scale")
