"""The cells of one column of a table file: .csv, .tsv, JSON and .parquet. Others are not read."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

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
_DELIMITERS = {"csv": ",", "tsv": "\t"}


def file_cells(file: TextFile, column: str) -> Iterator[Any]:
    """Yields the cells of a column, whatever they hold; None for one that is missing.

    Raises:
        UserError: the file is not what its name says, or has no such column.
    """
    name = shown(file.path.absolute())
    if file.holds == "parquet":
        return _parquet(file.path, name, column)
    if file.holds == "json":
        return _json(file.path, name, column)
    return _delimited(file.path, name, column, _DELIMITERS[file.holds])


def require_column(column: str, columns: Sequence[str], name: str) -> None:
    """Raises a :class:`UserError` unless a table has exactly one column of that name."""
    if columns.count(column) != 1:
        number = f"{columns.count(column)} columns" if column in columns else "no column"
        names = [shown(found)[:_LONGEST_NAME] for found in columns]
        raise UserError(
            f"{name} has {number} '{column}'; it has {', '.join(names)}: name one with "
            "data.text_column=…"
        )


def _delimited(file: Path, name: str, column: str, delimiter: str) -> Iterator[str]:
    csv.field_size_limit(LONGEST_CELL)
    with open_text(file, newline="") as stream:
        rows = csv.reader(_without_nul(stream, file), delimiter=delimiter, strict=True)
        number = 1
        try:
            header = next(rows, None)
            if header is None:
                return
            require_column(column, header, name)
            place = header.index(column)
            for row in rows:
                number += 1
                if row and len(row) != len(header):
                    raise UserError(
                        f"{name}: row {number}, which ends in line {rows.line_num}, has "
                        f"{len(row)} cells, and the header has {len(header)}: put cells with "
                        "commas, quotes or line ends between double quotes"
                    )
                if row:
                    yield row[place]
        except csv.Error as error:
            raise UserError(
                f"{name}: the row after row {number}, in line {rows.line_num}: {error}; a cell "
                f"ends with the quote that it begins with, has at most {LONGEST_CELL:,} "
                'characters, and writes " as ""'
            ) from error


def _without_nul(stream: TextIO, file: Path) -> Iterator[str]:
    for line in stream:
        if "\0" in line:
            refuse(file)
        yield line


def _json(file: Path, name: str, column: str) -> Iterator[Any]:
    """Reads an object a line, or one array of objects; a missing column is a missing cell."""
    keys: dict[str, None] = {}
    for place, row in _json_rows(file, name):
        if not isinstance(row, dict):
            raise UserError(
                f"{name}: {place} holds {type(row).__name__}, not an object with the column "
                f'\'{column}\', such as {{"{column}": "…"}}'
            )
        if column not in keys:
            keys |= dict.fromkeys(row)
        yield row.get(column)
    if keys:
        require_column(column, list(keys), name)


def _json_rows(file: Path, name: str) -> Iterator[tuple[str, Any]]:
    with open_text(file) as stream:
        for number, line in enumerate(_without_nul(stream, file), 1):
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


def _parquet(file: Path, name: str, column: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    if is_compressed(file):
        raise UserError(f"{name} must be decompressed first: gunzip {shown(file)}")
    try:
        with file.open("rb") as stream, ParquetFile(stream) as table:
            require_column(column, table.schema_arrow.names, name)
            for batch in table.iter_batches(batch_size=256, columns=[column]):  # rows in memory
                yield from batch.column(column).to_pylist()
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"{name} cannot be read as parquet: {error}") from error
