"""Settings as people see them: a table, HTML for notebooks, and the text of each file format."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeVar

from ptycho.config.errors import ConfigError, printable, show
from ptycho.config.fields import text
from ptycho.config.origins import Origin

WIDTH: Final = 100
"""Longest line of a comment, in characters."""
SCHEMA_FILE: Final = "./ptycho.schema.json"
"""Where files look for the schema: beside them."""


class Row(NamedTuple):
    """One setting in a table."""

    group: str
    name: str
    origin: Origin
    changed: bool
    """Whether the value differs from the default."""
    table: str = ""
    words: str = ""
    """What stands for a value that only the run itself will know."""


Grouped = TypeVar("Grouped", Row, "Entry")


def comment(words: str) -> str:
    """Write a text as a comment, each of its lines wrapped by itself."""
    wrapped = (textwrap.wrap(printable(" ".join(line.split())), WIDTH - 2) for line in words.splitlines())
    return "".join(f"# {line}\n" for lines in wrapped for line in lines)


def schema_line(*, as_yaml: bool) -> str:
    """The line by which editors find the schema of a file."""
    return f"# yaml-language-server: $schema={SCHEMA_FILE}\n" if as_yaml else f"#:schema {SCHEMA_FILE}\n"


class Entry(NamedTuple):
    """One setting in a file for people."""

    table: str
    """The table that it stands in; empty: none."""
    group: str
    """The heading that it stands under; none where that is its table."""
    name: str
    value: Any
    """A plain value."""
    meaning: str
    """The comment above it."""
    is_set: bool = True
    """Whether the file sets it; otherwise it is a comment."""


def file_text(entries: Sequence[Entry], *, as_yaml: bool, heads: Mapping[str, str] = {}) -> str:
    """Write a file for people: in groups, what a setting means above it.

    Args:
        entries: The settings, those of one table together, and those outside one first.
        as_yaml: YAML; otherwise TOML.
        heads: Table -> the comment above it.

    Returns:
        The text of the file.
    """
    header, indent = ("{}:\n", "  ") if as_yaml else ("[{}]\n", "")
    parts: list[str] = []
    for table, members in groupby(entries, key=lambda one: one.table):
        blocks: list[str] = [f"{comment(heads.get(table, ''))}{header.format(table)}"] if table else []
        for group, settings in _by_group(members):
            found = [] if group == table else [f"# ---- {group} ----\n"]
            found += [f"{comment(one.meaning)}{_line(one, as_yaml=as_yaml)}\n" for one in settings]
            blocks += [textwrap.indent(block, indent if table else "") for block in found]
        parts += blocks
    return "\n".join(parts)


def _line(entry: Entry, *, as_yaml: bool) -> str:
    """Write what sets one setting; TOML has no none, and takes the word."""
    quoted = (str, list, dict) if as_yaml else (str, list, dict, type(None))
    is_quoted = isinstance(entry.value, quoted)
    written = _quoted(entry.name, text(entry.value)) if is_quoted else _bare(entry.value)
    return f"{'' if entry.is_set else '#'}{entry.name}{': ' if as_yaml else ' = '}{written}"


def _quoted(name: str, value: str) -> str:
    """Write text in quotes; what cannot be printed by its number, as TOML and YAML both read it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        words = f"expected Unicode text, as files hold; got {show(value)}. Rename what it names."
        raise ConfigError.of(name, words) from None
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)


def _bare(value: object) -> str:
    """Write what needs no quotes; YAML 1.1 takes a number with an exponent for text unless it has a point."""
    written = "null" if value is None else text(value)
    return written.replace("e", ".0e") if isinstance(value, float) and "." not in written else written


def _shown(value: object) -> str:
    return text(value) if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _by_group(rows: Iterable[Grouped]) -> Iterator[tuple[str, list[Grouped]]]:
    """Group rows, or entries, in the order in which the groups first appear."""
    rows = list(rows)
    groups = list(dict.fromkeys(row.group for row in rows))
    rows.sort(key=lambda row: groups.index(row.group))
    for group, members in groupby(rows, key=lambda row: row.group):
        yield group, list(members)


HEAD: Final = ("setting", "value", "from", "instead of")
"""Headings of a table of settings."""


class Line(NamedTuple):
    """One line of a table."""

    cells: tuple[str, ...]
    group: str = ""
    """The heading it stands under; the lines of one group stand together."""
    marked: bool = False
    """Whether to point it out: `*` in plain text, bold on a terminal."""


def table(head: Sequence[str], lines: Sequence[Line]) -> str:
    """Write a table as aligned text, without blanks at the ends of lines; nothing in it steers a terminal."""
    is_marked = any(line.marked for line in lines)
    cells: list[tuple[str, ...]] = [tuple(map(printable, head))]
    for group, members in groupby(lines, key=lambda line: line.group):
        cells += [(f"[{group}]", *[""] * (len(head) - 1))] if group else []
        for line in members:
            mark = ("* " if line.marked else "  ") if is_marked else ""
            name, *others = map(printable, line.cells)
            cells.append((f"{mark}{name}", *others))
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def lines(rows: Iterable[Row]) -> list[Line]:
    """The lines of a table of settings, group by group; values other than the default are marked."""
    ordered = (row for _, members in _by_group(rows) for row in members)
    return [Line(_cells(row), row.group, row.changed) for row in ordered]


def _cells(row: Row) -> tuple[str, ...]:
    origin = row.origin
    beaten = ", ".join(f"{_shown(loser.value)} ({loser})" for loser in origin.shadowed)
    return row.name, row.words or _shown(origin.value), str(origin), beaten


CELL: Final = (
    "text-align:left;vertical-align:top;padding:2px 12px 2px 0;border:0;color:inherit;background:none;"
    "white-space:normal;overflow-wrap:break-word;max-width:40em;font-weight:"
)
LINE: Final = "border:0;border-bottom:1px solid rgba(128,128,128,.4);color:inherit;background:"
TABLE: Final = (
    "border-collapse:collapse;border:0;table-layout:auto;width:auto;margin:4px 0;text-align:left;color:inherit;"
    "background:none;font-size:inherit;line-height:1.4"
)
"""Styles of the elements themselves: a notebook's rules for tables do not win, and viewers that drop style sheets keep
them. Colours come from the page, light or dark."""
_MARKED: Final = "rgba(64,128,255,.2)"


def html(title: str, rows: Iterable[Row]) -> str:
    """Write an HTML table; changed settings are marked."""
    from html import escape

    def line(kind: str, cells: Iterable[str], weight: str, background: str = "none", more: str = "") -> str:
        written = "".join(
            f'<{kind}{more} style="{CELL}{weight}">{escape(printable(cell))}</{kind}>' for cell in cells
        )
        return f'<tr style="{LINE}{background}">{written}</tr>'

    parts = [f'<table style="{TABLE}"><caption style="{CELL}bold;caption-side:top">{escape(title)}</caption>']
    parts += ["<thead>", line("th", HEAD, "bold"), "</thead>"]
    for group, members in groupby(lines(rows), key=lambda one: one.group):
        heading = line("th", [group], "bold;padding-top:10px", more=' colspan="4" scope="rowgroup"')
        parts += ["<tbody>", heading]
        for one in members:
            name, *cells = one.cells
            name = f"* {name}" if one.marked else name  # where a viewer drops all styles
            parts.append(line("td", (name, *cells), *(("bold", _MARKED) if one.marked else ("normal",))))
        parts.append("</tbody>")
    return "".join(parts) + "</table>"
