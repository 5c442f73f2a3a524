"""The rows of a table file: .csv, .tsv, JSON and .parquet. Other files are not read."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from bert_lightning.corpus.readers.kinds import TextFile, is_compressed
from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.lines import open_text, refuse
from bert_lightning.errors import UserError

LONGEST_CELL = 4_000_000
"""Characters of a .csv cell, above which a quote is taken to be unclosed."""
LARGEST_ARRAY = 2**29
"""Bytes of a JSON array, which is read as a whole; JSON lines have no limit."""
_LONGEST_NAME = 40
"""Characters of a column's name in a message: a table without a header has text in its place."""
_ENCLOSED = re.compile('"(?:[^"]|"")*"')
_DELIMITERS = {"csv": ",", "tsv": "\t"}


class Row(NamedTuple):
    """The cells of some columns of one row."""

    place: str
    """Where it stands in the file: `row 3`, `line 3` or `object 3`."""
    cells: list[Any]
    """Whatever the columns hold; None for a cell that is missing."""


def file_cells(file: TextFile, column: str) -> Iterator[Any]:
    """Yields the cells of a column, whatever they hold; None for one that is missing.

    Raises:
        UserError: the file is not what its name says, or has no such column.
    """
    return (row.cells[0] for row in file_rows(file, [column]))


def file_rows(
    file: TextFile, columns: Sequence[str], header: Sequence[str] | None = None
) -> Iterator[Row]:
    """Yields the rows of a table; `header` names the columns of a .csv or .tsv that has no header.

    Raises:
        UserError: the file is not what its name says, or lacks one of the columns.
    """
    name = shown(file.path.absolute())
    if file.holds == "parquet":
        return _parquet(file, name, columns)
    if file.holds == "json":
        return _json(file, name, columns)
    return _delimited(file, name, columns, header)


def file_columns(file: TextFile) -> list[str]:
    """Returns the names of the columns: of a .csv or .tsv, the cells of its first row."""
    name = shown(file.path.absolute())
    if file.holds == "parquet":
        with _open_parquet(file.path, name) as table:
            return list(table.schema_arrow.names)
    if file.holds == "json":
        return list(dict.fromkeys(key for _, row in _json_objects(file, name, ()) for key in row))
    return next((cells for _, _, cells in _delimited_rows(file, name)), [])


def require_column(
    column: str, columns: Sequence[str], name: str, option: str = "data.text_column"
) -> None:
    """Raises a :class:`UserError` unless a table has exactly one column of that name."""
    if columns.count(column) != 1:
        number = f"{columns.count(column)} columns" if column in columns else "no column"
        names = [shown(found)[:_LONGEST_NAME] for found in columns]
        raise UserError(
            f"{name} has {number} '{column}'; it has {', '.join(names)}: name one with {option}=…"
        )


def _delimited(
    file: TextFile, name: str, columns: Sequence[str], header: Sequence[str] | None
) -> Iterator[Row]:
    places: list[int] = []
    for number, line, cells in _delimited_rows(file, name):
        if header is None:
            header = cells
        elif len(cells) != len(header):
            raise UserError(
                f"{name}: row {number}, which ends in line {line}, has {len(cells)} cells, and the "
                f"header has {len(header)}: put cells with commas, quotes or line ends between "
                "double quotes"
            )
        if not places:
            for column in columns:
                require_column(column, header, name)
            places = [header.index(column) for column in columns]
            if header is cells:
                continue
        yield Row(f"row {number}", [cells[place] for place in places])


def _delimited_rows(file: TextFile, name: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yields the number of each row that is not blank, its last line and its cells."""
    csv.field_size_limit(LONGEST_CELL)
    plain = file.holds == "tsv" and not _encloses_cells(file.path)
    with open_text(file.path, newline="") as stream:
        rows = csv.reader(
            _without_nul(stream, file.path),
            delimiter=_DELIMITERS[file.holds],
            quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
            strict=True,
        )
        number = 0
        try:
            for number, cells in enumerate(rows, 1):
                if cells:
                    yield number, rows.line_num, cells
        except csv.Error as error:
            raise UserError(
                f"{name}: the row after row {number}, in line {rows.line_num}: {error}; a cell "
                f"ends with the quote that it begins with, has at most {LONGEST_CELL:,} "
                'characters, and writes " as ""'
            ) from error


def _encloses_cells(file: Path) -> bool:
    """Whether quotes enclose cells of a .tsv; if not, they are text, as in the files of GLUE.

    They do where tabs or line ends in cells make lines of different numbers of cells, as they may
    in a single column. Otherwise each cell that begins with a quote must end with one and double
    those between; and each must hold a quote or a comma, for which writers enclose it, unless they
    enclose all, and so the first row too.
    """
    width, well_formed, needed, in_first = 0, True, True, False
    with open_text(file, newline="") as stream:
        for line in _without_nul(stream, file):
            cells = line.rstrip("\r\n").split("\t")
            if cells == [""]:
                continue
            quoted = [cell for cell in cells if cell.startswith('"')]
            if width == 0:
                width, in_first = len(cells), bool(quoted)
            if len(cells) != width:
                return True
            well_formed &= all(map(_ENCLOSED.fullmatch, quoted))
            needed &= all('""' in cell[1:-1] or "," in cell for cell in quoted)
    return width == 1 or (well_formed and (needed or in_first))


def _without_nul(stream: TextIO, file: Path) -> Iterator[str]:
    for line in stream:
        if "\0" in line:
            refuse(file)
        yield line


def _json(file: TextFile, name: str, columns: Sequence[str]) -> Iterator[Row]:
    """Reads an object a line, or one array of objects; a missing column is a missing cell."""
    keys: dict[str, None] = {}
    for place, row in _json_objects(file, name, columns):
        if not all(column in keys for column in columns):
            keys |= dict.fromkeys(row)
        yield Row(place, [row.get(column) for column in columns])
    if keys:
        for column in columns:
            require_column(column, list(keys), name)


def _json_objects(
    file: TextFile, name: str, columns: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, row in _json_rows(file, name):
        if not isinstance(row, dict):
            such = ", ".join(f'"{column}": "…"' for column in columns or ["text"])
            wanted = f"with the column {' and '.join(repr(column) for column in columns)}"
            raise UserError(
                f"{name}: {place} holds {type(row).__name__}, not an object "
                f"{wanted if columns else 'with columns'}, such as {{{such}}}"
            )
        yield place, row


def _json_rows(file: TextFile, name: str) -> Iterator[tuple[str, Any]]:
    with open_text(file.path, part=file.part) as stream:
        for number, line in enumerate(_without_nul(stream, file.path), 1):
            place, text = f"line {number}", line.strip()
            if number == 1 and text.startswith("["):
                place = "the array"
                text += stream.read(LARGEST_ARRAY)
                if stream.read(1):
                    raise UserError(
                        f"{name} is one JSON array of more than {LARGEST_ARRAY:,} characters; "
                        f"write an object a line: jq -c '.[]' FILE.json > FILE.jsonl"
                    )
            try:
                row = json.loads(text) if text else None
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{name}: {place} is not JSON: {error}; a file of JSON holds an object a line "
                    "or one array of objects: jq -c . FILE.json > FILE.jsonl writes a line each"
                ) from error
            if number == 1 and isinstance(row, list):
                yield from ((f"object {place}", found) for place, found in enumerate(row, 1))
            elif text:
                yield place, row


@contextmanager
def _open_parquet(file: Path, name: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    if is_compressed(file):
        raise UserError(f"{name} must be decompressed first: gunzip {shown(file)}")
    try:
        with file.open("rb") as stream, ParquetFile(stream) as table:
            yield table
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"{name} cannot be read as parquet: {error}") from error


def row_group_bytes(file: TextFile) -> list[int]:
    """Returns the size of each row group of a .parquet, decompressed."""
    with _open_parquet(file.path, shown(file.path.absolute())) as table:
        groups = range(table.metadata.num_row_groups)
        return [table.metadata.row_group(group).total_byte_size for group in groups]


def _parquet(file: TextFile, name: str, columns: Sequence[str]) -> Iterator[Row]:
    with _open_parquet(file.path, name) as table:
        for column in columns:
            require_column(column, table.schema_arrow.names, name)
        number = 0
        groups = range(*(file.part or (0, table.metadata.num_row_groups)))
        # so many rows are in memory
        for batch in table.iter_batches(256, row_groups=groups, columns=list(columns)):
            cells = [batch.column(column).to_pylist() for column in columns]
            for number, row in enumerate(zip(*cells, strict=True), number + 1):  # noqa: B020
                yield Row(f"row {number}", list(row))
