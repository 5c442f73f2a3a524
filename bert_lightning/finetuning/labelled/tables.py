"""Labelled examples as a table: named columns and rows of cells, whatever file they come from."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from bert_lightning.config.task import LabelledConfig
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.table_files import Row, file_columns, file_rows
from bert_lightning.errors import UserError

_LONGEST_NAME = 40
"""Characters of a cell in a message, and of a column's name that may be one."""
_MOST_SHOWN = 12
"""Columns in a message."""


class Table(NamedTuple):
    """The examples of one split, before it is known which columns hold text and label."""

    name: str
    """The absolute path, or the data set of the hub and the split."""
    columns: list[str]
    rows: Callable[[Sequence[str]], Iterator[Row]]
    """Yields the cells of the columns that it is given."""
    words: str | None = None
    """The column of the words, where the form of the file says which it is."""
    tags: str | None = None
    """The column of the label of each word, likewise."""
    notes: tuple[str, ...] = ()
    """What was left out, each the end of a sentence that names the split."""
    is_headed: bool = False
    """Whether the names of the columns are a .csv's or .tsv's first row, which may be data."""
    marks_unlabelled: bool = False
    """Whether rows without a label are meant to be left out, as on the hub, where -1 marks them."""

    def shown_columns(self) -> str:
        """Returns the names of the columns for a message."""
        names = ", ".join(shown(name)[:_LONGEST_NAME] for name in self.columns[:_MOST_SHOWN])
        return names + ", …" * (len(self.columns) > _MOST_SHOWN)

    def seems_headless(self) -> bool:
        """Whether the first row looks like an example: it has numbers, sentences or gaps."""
        cells = [cell.strip() for cell in self.columns]
        return self.is_headed and (
            len({*cells}) < len(cells)
            or any(_is_number(cell) or len(cell) > _LONGEST_NAME for cell in cells)
            or any(not cell or cell[-1] in ".?!。？！" or cell.count(" ") >= 3 for cell in cells)
        )


def likely_columns(cells: Sequence[str], two_texts: bool) -> list[str]:
    """Returns what the columns may be of which these are the first row: names for `data.columns`.

    The longest cells are the texts, and the last that is left is the label.
    """
    names = [f"other{number}" for number in range(1, len(cells) + 1)]
    waiting = sorted(range(len(cells)), key=lambda place: len(cells[place]))
    names[waiting.pop()] = "text"
    if two_texts and len(waiting) > 1 and not _is_number(cells[waiting[-1]]):
        names[waiting.pop()] = "text_pair"
    if waiting:
        names[max(waiting, key=lambda place: (bool(cells[place].strip()), place))] = "label"
    if "text_pair" in names and names.index("text_pair") < names.index("text"):
        first, second = names.index("text_pair"), names.index("text")
        names[first], names[second] = "text", "text_pair"
    return names


def file_table(file: TextFile, data: LabelledConfig, may_have_header: bool) -> Table:
    """Opens a .csv, .tsv, JSON or .parquet file.

    It may have a header in spite of `data.columns` as in CoLA, whose test split alone has one.

    Raises:
        UserError: `data.columns` does not fit it, or it has no row.
    """
    name, found = shown(file.path.absolute()), file_columns(file)
    if not found:
        raise UserError(f"{name} is empty: it needs a row for each example")
    table = Table(name, found, partial(file_rows, file), is_headed=file.holds in ("csv", "tsv"))
    if not data.columns:
        return table
    if not table.is_headed:
        raise UserError(
            f"data.columns={_listed(data.columns)} names the columns of a file without a header, "
            f"and {name} names its own: {table.shown_columns()}; omit data.columns"
        )
    names = _listed(data.columns)
    if [cell.strip() for cell in found] == data.columns:
        raise UserError(
            f"data.columns={names} names the columns of a file without a header, and the first row "
            f"of {name} is these names: omit data.columns"
        )
    if len(found) != len(data.columns):
        if may_have_header and not table.seems_headless():
            return table
        raise UserError(
            f"data.columns={names} names {len(data.columns)} columns, and {name} has {len(found)} "
            f"in its first row: {table.shown_columns()}"
        )
    return Table(name, data.columns, partial(file_rows, file, header=data.columns))


def hub_table(name: str, rows: Any) -> Table:
    """Wraps a split of a data set of the hub; classes stored as numbers get their names."""
    columns = list(rows.features)
    names = {column: _class_names(rows.features[column]) for column in columns}

    def read(wanted: Sequence[str]) -> Iterator[Row]:
        number = 0
        for batch in rows.iter(batch_size=256):  # rows in memory at once
            cells = [[_named(cell, names[column]) for cell in batch[column]] for column in wanted]
            for row in zip(*cells, strict=True):
                number += 1
                yield Row(f"row {number}", list(row))

    return Table(name, columns, read, marks_unlabelled=True)


def _class_names(feature: Any) -> list[str] | None:
    """Returns the names of a `ClassLabel`, or of a list of them."""
    return getattr(getattr(feature, "feature", feature), "names", None)


def _named(cell: Any, names: list[str] | None) -> Any:
    if names is None or cell is None:
        return cell
    if isinstance(cell, list):
        return [_named(inner, names) for inner in cell]
    return names[cell] if cell >= 0 else None


def _listed(names: Sequence[str]) -> str:
    return f"[{','.join(names)}]"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
