"""What is probably meant by a line that is not valid TOML, YAML or JSON."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_LINE: Final = (
    r"""(?P<quote>["']?)(?P<name>[\w-]+)(?P=quote)[ \t]*(?P<sign>[=:])(?P<gap>[ \t]*)"""
    r"""(?P<value>[\w.,+/~$-]+)[ \t]*"""
)
"""A setting and one word or number, with nothing beside it that might be a secret."""
_SWITCHES: Final = frozenset({"true", "false"})


class Meant(NamedTuple):
    """A line that sets one setting to one word or number."""

    name: str
    way_out: str
    """What to do; empty where nothing is known."""


def meant_by(line: str, suffix: str) -> Meant | None:
    """Read a line that is not valid.

    Args:
        line: The line, without blanks around it.
        suffix: The ending of the file.

    Returns:
        What it sets; None where it is not just one setting with a word or a number.
    """
    found = re.fullmatch(_LINE, line)
    if found is None:
        return None
    suffix = ".yaml" if suffix == ".yml" else suffix
    ways_out = _ways_out(found["sign"], found["value"], suffix)
    if suffix == ".yaml" and not (found["sign"] == ":" and found["gap"]):
        ways_out = [f"Write a colon and a space: {found['name']}: {found['value']}.", *ways_out]
    return Meant(found["name"], " ".join(ways_out))


def _ways_out(sign: str, written: str, suffix: str) -> Iterator[str]:
    value = written.rstrip(",")
    if suffix == ".toml" and sign == ":":
        yield "Write = in place of the colon."
    if suffix == ".json" and sign == "=":
        yield "Write a colon in place of =."
    if suffix == ".toml" and value != written:
        yield "Remove the comma at the end."
    if re.fullmatch(r"[+-]?\d+,\d+(?:e[+-]?\d+)?", value, re.IGNORECASE):
        yield f"Write a decimal point: {value.replace(',', '.')}."
    elif suffix != ".yaml" and re.fullmatch(r"[+-]?(?:\.\d+|\d+\.)", value):
        yield f"Write a digit on both sides of the point: {float(value)}."
    elif value.lower() in _SWITCHES and value not in _SWITCHES:
        yield f"Write {value.lower()}, in lower case."
    elif re.fullmatch(r"[+-]?0\d+", value):
        yield f"Write the number without the leading zero: {int(value)}."
    elif suffix != ".yaml" and re.fullmatch(r"[A-Za-z/~$.][\w./~$-]*", value) and value not in _SWITCHES:
        yield f'Text needs quotes: "{value}".'
