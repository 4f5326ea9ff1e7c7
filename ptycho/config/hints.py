"""What is probably meant by a line that is not valid TOML, YAML or JSON."""

import re
from collections.abc import Iterator
from typing import Final

from ptycho.config.errors import LINE_LENGTH
from ptycho.config.fields import DECIMAL_COMMA

_LINE: Final = (
    r"""(?P<quote>["']?)(?P<name>[\w-]+)(?P=quote)[ \t]*(?P<sign>[=:])(?P<gap>[ \t]*)"""
    r"""(?P<value>[\w.,+/~$-]+|[\d.]+ [A-Za-z]{1,3})[ \t]*"""
)
"""A setting and one word, number or quantity, with nothing beside it that might be a secret."""
_TEXT: Final = r"[A-Za-z/~$.][\w./~$-]*|\d[\d.]*-?[A-Za-z]{2,}|[\d.]+ [A-Za-z]+"
"""A word or a path; or what begins with a number, as `16-mixed` and `8 keV`."""
_SWITCHES: Final = frozenset({"true", "false"})


def hint_for(line: str, language: str) -> tuple[str, str]:
    """Read a line that is not valid `TOML`, `YAML` or `JSON`, without blanks around it.

    Returns:
        The setting and what to do about it; two empty texts where the line is not just one setting with a word or a
        number, or too long to quote.
    """
    found = re.fullmatch(_LINE, line) if len(line) <= LINE_LENGTH else None
    return (found["name"], " ".join(_ways_out(found, language))) if found else ("", "")


def _ways_out(found: re.Match[str], language: str) -> Iterator[str]:
    name, sign, written = found["name"], found["sign"], found["value"]
    value = written.rstrip(",")
    if language == "YAML" and not (sign == ":" and found["gap"]):
        yield f"Write a colon and a space: {name}: {written}."
    if language == "TOML" and sign == ":":
        yield "Write = in place of the colon."
    if language == "JSON" and sign == "=":
        yield "Write a colon in place of =."
    if language == "TOML" and value != written:
        yield "Remove the comma at the end."
    if re.fullmatch(DECIMAL_COMMA, value):
        yield f"Write a decimal point: {value.replace(',', '.')}."
    elif language != "YAML" and re.fullmatch(r"[+-]?(?:\.\d+|\d+\.)", value):
        yield f"Write a digit on both sides of the point: {float(value)}."
    elif value.lower() in _SWITCHES and value not in _SWITCHES:
        yield f"Write {value.lower()}, in lower case."
    elif re.fullmatch(r"[+-]?0\d+", value):
        yield f"Write the number without the leading zero: {int(value)}."
    elif language != "YAML" and re.fullmatch(_TEXT, value) and value not in _SWITCHES:
        yield f'Text needs quotes: "{value}".'
