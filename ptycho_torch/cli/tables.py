"""Tables: coloured where a person is looking at a terminal, aligned plain text everywhere else."""

import sys
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from ptycho.config.errors import printable


class Row(NamedTuple):
    """One line of a table."""

    cells: tuple[str, ...]
    group: str = ""
    """The heading it stands under; the lines of one group stand together."""
    marked: bool = False
    """Whether to point it out: `*` in plain text, bold on a terminal."""


def print_table(head: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table in the way that suits where it goes.

    Args:
        head: headings of the columns.
        rows: the lines, with as many cells.
    """
    head = [printable(cell) for cell in head]
    rows = [row._replace(cells=tuple(map(printable, row.cells))) for row in rows]
    if sys.stdout.isatty():
        _print_coloured(head, rows)
    else:
        print(plain_table(head, rows))


def plain_table(head: Sequence[str], rows: Sequence[Row]) -> str:
    """Write a table as aligned text, without blanks at the ends of lines."""
    is_marked = any(row.marked for row in rows)
    lines: list[tuple[str, ...]] = [tuple(head)]
    for group, members in groupby(rows, key=lambda row: row.group):
        lines += [(f"[{group}]", *[""] * (len(head) - 1))] if group else []
        for row in members:
            mark = ("* " if row.marked else "  ") if is_marked else ""
            lines.append((f"{mark}{row.cells[0]}", *row.cells[1:]))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _print_coloured(head: Sequence[str], rows: Sequence[Row]) -> None:
    from rich.box import SIMPLE_HEAD  # loaded where a person is looking
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, heading in enumerate(head):
        table.add_column(heading, no_wrap=column == 0, overflow="fold")  # nothing is cut off
    for group, members in groupby(rows, key=lambda row: row.group):
        if group:
            table.add_section()
            table.add_row(Text(group, style="cyan"))
        for row in members:
            table.add_row(*(Text(cell) for cell in row.cells), style="bold" if row.marked else "")
    Console().print(table)
