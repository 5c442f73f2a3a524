"""The one form that tables of figures have on the terminal."""

from collections.abc import Iterable, Sequence

from rich.table import Table


def figures(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table without lines: what a row is about at the left, its figures in columns."""
    table = Table(header[0], box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
