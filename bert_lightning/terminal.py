"""The one form that tables of figures and waiting have on the terminal."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

Item = TypeVar("Item")


def figures(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table without lines: what a row is about at the left, its figures in columns."""
    table = Table(header[0], box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def tracked(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Hands on the items; on a terminal, a bar shows how many of them are done."""
    console = Console(stderr=True)
    yield from track(
        items, what, total, console=console, transient=True, disable=not console.is_terminal
    )
