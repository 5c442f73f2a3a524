"""The tables of the Hugging Face hub, by `datasets`, and the texts that cells of tables hold."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.readers.columns import (
    cell_of,
    columns_of,
    names_within,
    require_column,
)
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.left_out import LeftOut, shown
from bert_lightning.corpus.readers.table_files import file_rows
from bert_lightning.errors import UserError
from bert_lightning.hub import UnavailableError, dataset_out_of_reach

_BETWEEN_COLUMNS = "\n\n"
"""Each column of a row is at least a paragraph of the row's document."""
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that are in no text: NUL, and halves of surrogate pairs, as JSON may have them."""


def hub_tables(
    repository: str, name: str | None, revision: str | None, streaming: bool = False
) -> dict[str, Any]:
    """Returns each split of a hub data set, from the cache or the hub, or raises UnavailableError.

    Whether the hub is in reach is decided within seconds.
    """
    from huggingface_hub import constants

    reason = None
    if not constants.is_offline_mode():
        reason = dataset_out_of_reach(repository, revision)
    import datasets

    if reason is not None:
        datasets.config.HF_HUB_OFFLINE = True  # cached data still load, without retries
        constants.HF_HUB_OFFLINE = True
    try:
        found = datasets.load_dataset(repository, name, revision=revision, streaming=streaming)
        return dict(found)
    except Exception as error:  # datasets raises a dozen types for "unavailable"
        raise UnavailableError(
            f"{hub_title(repository, name)} is neither in the cache nor available "
            f"from the Hugging Face hub ({reason or error})"
        ) from error


def hub_rows(table: Any, data: CorpusConfig, left_out: LeftOut) -> Iterator[str]:
    """Yields the texts of a split; with `data.streaming`, each time from the hub."""
    name = hub_title(data.hub_repository, data.hub_name)
    columns = columns_of(data.text_column)

    def rows() -> Iterator[list[Any]]:
        alone = table
        if table.features is not None:  # which some streams learn from their rows
            for column in columns:
                require_column(column, list(names_within(table.features)), name)
            alone = table.select_columns([*dict.fromkeys(map(partial(_holder, table), columns))])
        for batch in alone.iter(batch_size=256):  # rows in memory at once
            found = [
                dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True)
            ]
            for column in columns:
                require_column(column, list(names_within(found[0])), name)
            yield from ([cell_of(row, column) for column in columns] for row in found)

    try:
        yield from texts_of(rows(), columns, name, left_out)
    except UserError:
        raise
    except Exception as error:  # a broken connection, in a dozen types
        raise UnavailableError(f"the connection broke while {name} was read: {error}") from error


def _holder(table: Any, column: str) -> str:
    """Returns the column that a column is, or is a field of."""
    return next(
        name
        for name in sorted(table.column_names, key=len, reverse=True)
        if f"{column}.".startswith(f"{name}.")
    )


def hub_title(repository: str, name: str | None) -> str:
    """Returns the name of a data set and of its configuration for a message."""
    return f"{repository} ({name})" if name else repository


def file_texts(file: TextFile, data: CorpusConfig, left_out: LeftOut) -> Iterator[str]:
    """Yields the texts of a table file."""
    columns = columns_of(data.text_column)
    rows = (row.cells for row in file_rows(file, columns))
    return texts_of(rows, columns, shown(file.path.absolute()), left_out)


def texts_of(
    rows: Iterable[Sequence[Any]], columns: Sequence[str], name: str, left_out: LeftOut
) -> Iterator[str]:
    """Yields a text for each row: those of its columns that have a word, as paragraphs; or "".

    A cell that is a list of texts has a line of each.
    Cells of another type, and those that no text has, are left out.

    Raises:
        UserError: the first cell of a column that is not empty holds no text.
    """
    none_yet = set(columns)
    for row in rows:
        texts, refused = [], False
        for cell, column in zip(row, columns, strict=True):
            if isinstance(cell, list) and all(isinstance(line, str) for line in cell):
                cell = "\n".join(cell)
            if not isinstance(cell, str | None):
                kind = type(cell).__name__
                if column in none_yet:
                    raise UserError(
                        f"{name}: column '{column}' holds {kind}, not text; data.text_column=… "
                        "names another column"
                    )
                left_out.add(f"cells of '{column}' that hold {kind}, not text", name)
                refused = True
            elif cell and _NO_TEXT.search(cell):
                left_out.add(f"cells of '{column}' with NUL or half a surrogate pair", name)
                refused = True
            elif cell:
                none_yet.discard(column)
                texts.append(cell)
        if texts or not refused:
            yield _BETWEEN_COLUMNS.join(filter(str.strip, texts))
