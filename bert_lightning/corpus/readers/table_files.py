"""The rows of a table file: .csv, .tsv, JSON and .parquet. Other files are not read."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from bert_lightning.corpus.readers.columns import cell_of, require_column
from bert_lightning.corpus.readers.json_rows import json_cells, json_columns
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.lines import open_text, without_nul
from bert_lightning.corpus.readers.storage.compression import COMPRESSIONS, ending_of_archive
from bert_lightning.corpus.readers.storage.opening import File, opened
from bert_lightning.errors import UserError

LONGEST_CELL = 4_000_000
"""Characters of a .csv cell, above which a quote is taken to be unclosed."""
_ENCLOSED = re.compile('"(?:[^"]|"")*"')
_DELIMITERS = {"csv": ",", "tsv": "\t"}


class Row(NamedTuple):
    """The cells of some columns of one row."""

    place: str
    """Where it stands in the file: `row 3`, `line 3` or `object 3`."""
    cells: list[Any]
    """Whatever the columns hold; None for a cell that is missing."""


def file_rows(
    file: TextFile, columns: Sequence[str], header: Sequence[str] | None = None
) -> Iterator[Row]:
    """Yields the rows of a table; `header` names the columns of a .csv or .tsv that has no header.

    Raises:
        UserError: the file is not what its name says, or lacks one of the columns.
    """
    name = shown(file.path.absolute())
    if file.holds in _DELIMITERS:
        return _delimited(file, name, columns, header)
    return (Row(*row) for row in _FORMS[file.holds].cells(file, name, columns))


def file_columns(file: TextFile) -> list[str]:
    """Returns the names of the columns: of a .csv or .tsv, the cells of its first row."""
    name = shown(file.path.absolute())
    if file.holds in _DELIMITERS:
        return next((cells for _, _, cells in _delimited_rows(file, name)), [])
    return _FORMS[file.holds].columns(file, name)


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
            without_nul(stream, file.path),
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


def _encloses_cells(file: File) -> bool:
    """Whether quotes enclose cells of a .tsv; if not, they are text, as in the files of GLUE.

    They do where tabs or line ends in cells make lines of different numbers of cells, as they may
    in a single column. Otherwise each cell that begins with a quote must end with one and double
    those between; and each must hold a quote or a comma, for which writers enclose it, unless they
    enclose all, and so the first row too.
    """
    width, well_formed, needed, in_first = 0, True, True, False
    with open_text(file, newline="") as stream:
        for line in without_nul(stream, file):
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


@contextmanager
def _open_parquet(file: File, name: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    if archive := COMPRESSIONS.get(ending_of_archive(file.name)):
        raise UserError(f"{name} must be decompressed first: {archive.unpack} {shown(file)}")
    try:
        with opened(file) as stream, ParquetFile(stream) as table:
            yield table
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"{name} cannot be read as parquet: {error}") from error


def row_group_bytes(file: TextFile) -> list[int]:
    """Returns the size of each row group of a .parquet, decompressed."""
    with _open_parquet(file.path, shown(file.path.absolute())) as table:
        groups = range(table.metadata.num_row_groups)
        return [table.metadata.row_group(group).total_byte_size for group in groups]


def _parquet_cells(
    file: TextFile, name: str, columns: Sequence[str]
) -> Iterator[tuple[str, list[Any]]]:
    with _open_parquet(file.path, name) as table:
        fields = [[*_fields(field)] for field in table.schema_arrow]
        for column in columns:
            require_column(column, [within for field in fields for within in field], name)
        number = 0
        groups = range(*(file.part or (0, table.metadata.num_row_groups)))
        # so many rows are in memory
        for batch in table.iter_batches(256, row_groups=groups, columns=list(columns)):
            for number, row in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                yield f"row {number}", [cell_of(row, column) for column in columns]


def _fields(field: Any, prefix: str = "") -> Iterator[str]:
    """Yields the name of a column of parquet and those of the fields within it."""
    import pyarrow

    yield prefix + field.name
    if pyarrow.types.is_struct(field.type):
        for inner in field.type:
            yield from _fields(inner, f"{prefix}{field.name}.")


def _parquet_columns(file: TextFile, name: str) -> list[str]:
    with _open_parquet(file.path, name) as table:
        return list(table.schema_arrow.names)


class _Form(NamedTuple):
    """A form of tables whose columns have names of their own."""

    cells: Callable[[TextFile, str, Sequence[str]], Iterator[tuple[str, list[Any]]]]
    columns: Callable[[TextFile, str], list[str]]


_FORMS = {
    "json": _Form(json_cells, json_columns),
    "parquet": _Form(_parquet_cells, _parquet_columns),
}
