"""The columns that hold the text: by name, `a.b` within a column, `title+body` joined."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.errors import UserError

_LONGEST_NAME = 40
"""Characters of a column's name in a message: a table without a header has text in its place."""
_JOINED, _WITHIN = "+", "."


def columns_of(text_column: str) -> list[str]:
    """Returns the columns that `data.text_column` names."""
    return text_column.split(_JOINED)


def cell_of(row: Mapping[str, Any], column: str, missing: Any = None) -> Any:
    """Returns the cell of a column, which may be a field of another one (`a.b`)."""
    if column in row:
        return row[column]
    for place in (place for place, letter in enumerate(column) if letter == _WITHIN):
        inner = row.get(column[:place])
        if isinstance(inner, Mapping):
            return cell_of(inner, column[place + 1 :], missing)
    return missing


def names_within(row: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the names of columns and of the fields within them: `a`, `a.b`."""
    for key, value in row.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from names_within(value, f"{prefix}{key}{_WITHIN}")


def require_column(
    column: str,
    columns: Sequence[str],
    name: str,
    option: str = "data.text_column",
    way_out: str = "",
) -> None:
    """Raises a :class:`UserError` unless a table has exactly one column of that name."""
    if columns.count(column) != 1:
        number = f"{columns.count(column)} columns" if column in columns else "no column"
        names = [shown(found)[:_LONGEST_NAME] for found in columns]
        raise UserError(
            f"{name} has {number} '{column}'; it has {', '.join(names)}: "
            + (way_out or f"name one with {option}=…")
        )
