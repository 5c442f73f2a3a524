"""The project's tables of figures on the terminal."""

from collections.abc import Iterable, Sequence

from rich.table import Table


def figures(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Returns a table without lines: labels at the left, figures in aligned columns."""
    table = Table(header[0], box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
