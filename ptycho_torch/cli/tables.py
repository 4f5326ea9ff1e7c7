"""Tables: coloured where a person is looking at a terminal, aligned plain text everywhere else."""

import sys
from collections.abc import Sequence
from itertools import groupby

from ptycho.config.errors import printable
from ptycho.config.render import Line, table


def print_table(head: Sequence[str], rows: Sequence[Line]) -> None:
    """Print a table in the way that suits where it goes."""
    if sys.stdout.isatty():
        _print_coloured(head, rows)
    else:
        print(table(head, rows))


def _print_coloured(head: Sequence[str], rows: Sequence[Line]) -> None:
    from rich.box import SIMPLE_HEAD  # loaded where a person is looking
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, heading in enumerate(head):
        drawn.add_column(printable(heading), no_wrap=column == 0, overflow="fold")  # nothing is cut off
    for group, members in groupby(rows, key=lambda row: row.group):
        if group:
            drawn.add_section()
            drawn.add_row(Text(group, style="cyan"))
        for row in members:
            drawn.add_row(*(Text(printable(cell)) for cell in row.cells), style="bold" if row.marked else "")
    Console().print(drawn)
