"""The project's tables of figures on the terminal."""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

WIDTH = 80
"""Columns of a terminal, which no table exceeds."""


def figures(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Returns a table without lines: labels at the left, figures in aligned columns."""
    table = Table(header[0], box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def printed(table: Table) -> str:
    """Returns the lines of a table as a terminal of 80 columns shows them."""
    text = io.StringIO()
    # In a notebook rich would color what is text here.
    plain = Console(
        file=text,
        width=WIDTH,
        highlight=False,
        markup=False,
        color_system=None,
        force_jupyter=False,
    )
    plain.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
