"""Every value that somebody might try, in every field: taken or refused as the account of the field says."""

import contextlib
from typing import Any

import pytest

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError
from tests.properties.fields import FIELDS, KNOBS, MODEL
from tests.properties.written import NUMERALS, OBJECTS, WORDS

NUMBERS = (*range(-3, 4), 64, 2**32 - 1, 2**63 - 1, -0.5, 0.0, 5e-324, 0.5, 1.0, 1.5, 1e308)
VALUES = (*OBJECTS, *NUMBERS, *WORDS)


def taken_by_knob(name: str, **source: Any) -> bool:
    with contextlib.suppress(ConfigError):
        PyTorchExecutionConfig.resolve(
            overrides={"num_workers": 1} if name != "num_workers" else None, **source
        )
        return True
    return False


@pytest.mark.parametrize("name", KNOBS)
def test_a_knob_takes_what_its_account_accepts_and_nothing_else(name: str) -> None:
    taken = [value for value in VALUES if taken_by_knob(name, arguments={name: value}, environ={})]
    assert repr(taken) == repr([value for value in VALUES if KNOBS[name].accepts(value)])


@pytest.mark.parametrize("name", KNOBS)
def test_a_variable_says_what_its_account_reads_and_nothing_else(name: str) -> None:
    variable, texts = f"PTYCHO_EXEC_{name.upper()}", [text for text in (*WORDS, *NUMERALS) if text]
    taken = [text for text in texts if taken_by_knob(name, environ={variable: text})]
    assert taken == [text for text in texts if KNOBS[name].reads(text)]


@pytest.mark.parametrize("name", FIELDS)
def test_a_canonical_field_takes_what_its_account_accepts_and_nothing_else(name: str) -> None:
    taken: list[Any] = []
    for value in VALUES:
        with contextlib.suppress(ConfigError):
            (ModelConfig if name in MODEL else TrainingConfig)(**{name: value})
            taken.append(value)
    assert repr(taken) == repr([value for value in VALUES if FIELDS[name].accepts(value)])
