"""The schema of configuration files takes whatever is read."""

import functools

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from ptycho.config.section import TABLES, section_of_table
from ptycho_torch.cli.config_schema import schema
from tests.properties.written import NUMERALS, WORDS, examples

WRITTEN = (
    *(
        *WORDS,
        *NUMERALS,
        True,
        False,
        None,
        0,
        1,
        2,
        64,
        0.5,
        -1,
        2.0,
        "yes",
        "ON",
        " Null ",
        "1e-3",
        "1_000",
        "+7",
    ),
    *(
        " ADAPTIVE",
        "reducelronplateau",
        "Cosine",
        "Warn",
        "BF16-mixed",
        "8 keV",
        "75 um, 50 um",
        "4 px",
        "-1.5 um",
    ),
    *(
        "21.4 mrad",
        "yxHW",
        "256.5, 243",
        "Auto",
        "corner",
        "flip-x",
        "/entry/data[0]",
        "PyTorch",
        "1 ",
        ".5",
        "5.",
    ),
)
"""Values as a file may have them; each of them is right for some settings and wrong for others."""


@functools.cache
def described() -> dict[str, dict[str, jsonschema.Draft202012Validator]]:
    """Table -> setting -> what checks its values."""
    tables = schema()["$defs"]
    return {
        table: {
            name: jsonschema.Draft202012Validator(one) for name, one in tables[table]["properties"].items()
        }
        for table in TABLES
    }


def is_read(table: str, name: str, written: object) -> bool:
    section = section_of_table(table)
    field = section.field(name) or name
    try:
        section.check({field: section.scalars[field].read(written)})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("table", TABLES)
def test_the_schema_takes_every_spelling_that_the_reader_takes(table: str) -> None:
    section = section_of_table(table)
    for name in section.names:
        choices = section.scalars[section.field(name) or name].choices
        for written in (*WRITTEN, *choices, *map(str.swapcase, choices)):
            assert not is_read(table, name, written) or described()[table][name].is_valid(written), (
                name,
                written,
            )


@examples(0.3)
@given(
    st.text()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.from_regex(r"[\d._e+-]+")
)
@example("\u00a0true")
def test_the_schema_takes_any_value_that_is_read(written: object) -> None:
    for table, settings in described().items():
        for name in section_of_table(table).names:
            if is_read(table, name, written):
                assert settings[name].is_valid(written), (table, name)


def test_a_table_that_says_none_is_taken() -> None:
    whole = jsonschema.Draft202012Validator(schema())
    assert all(whole.is_valid({"model": none, "execution": {"seed": 3}}) for none in (None, "none", " Null"))
    assert not whole.is_valid({"model": "many"})
