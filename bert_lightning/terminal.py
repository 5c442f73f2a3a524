"""The project's tables of figures and progress bars."""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

Item = TypeVar("Item")
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
    Console(file=text, highlight=False, markup=False, width=WIDTH).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def tracked(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Yields the items; on a terminal, a progress bar shows how many are done."""
    console = Console(stderr=True)
    yield from track(
        items, what, total, console=console, transient=True, disable=not console.is_terminal
    )
