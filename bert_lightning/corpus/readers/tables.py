"""The tables of the Hugging Face hub, by `datasets`, and the texts that cells of tables hold."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.table_files import require_column
from bert_lightning.errors import UserError
from bert_lightning.hub import UnavailableError, dataset_out_of_reach

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that are in no text: NUL, and halves of surrogate pairs, as JSON may have them."""


def hub_tables(data: CorpusConfig) -> dict[str, Any]:
    """Returns each split of a hub data set, from the cache or the hub, or raises UnavailableError.

    Whether the hub is in reach is decided within seconds.
    """
    from huggingface_hub import constants

    reason = None
    if not constants.is_offline_mode():
        reason = dataset_out_of_reach(data.hub_repository, data.hub_revision)
    import datasets

    if reason is not None:
        datasets.config.HF_HUB_OFFLINE = True  # cached data still load, without retries
        constants.HF_HUB_OFFLINE = True
    where = {"revision": data.hub_revision, "streaming": data.streaming}
    try:
        return dict(datasets.load_dataset(data.hub_repository, data.hub_name, **where))
    except Exception as error:  # datasets raises a dozen types for "unavailable"
        raise UnavailableError(
            f"{_hub_name(data)} is neither in the cache nor available "
            f"from the Hugging Face hub ({reason or error})"
        ) from error


def hub_rows(table: Any, data: CorpusConfig, left_out: LeftOut) -> Iterator[str]:
    """Yields the texts of a split; with `data.streaming`, each time from the hub."""
    name = _hub_name(data)

    def cells() -> Iterator[Any]:
        alone = table
        if table.column_names:  # which some streams learn from their rows
            require_column(data.text_column, table.column_names, name)
            alone = table.select_columns([data.text_column])
        for batch in alone.iter(batch_size=256):  # rows in memory at once
            require_column(data.text_column, list(batch), name)
            yield from batch[data.text_column]

    try:
        yield from texts_of(cells(), data.text_column, name, left_out)
    except UserError:
        raise
    except Exception as error:  # a broken connection, in a dozen types
        raise UnavailableError(f"the connection broke while {name} was read: {error}") from error


def _hub_name(data: CorpusConfig) -> str:
    return f"{data.hub_repository} ({data.hub_name})"


def texts_of(cells: Iterable[Any], column: str, name: str, left_out: LeftOut) -> Iterator[str]:
    """Yields the texts of a column, "" for an empty cell; cells of another type are left out.

    Raises:
        UserError: the first cell that is not empty holds no text.
    """
    none_yet = True
    for cell in cells:
        if not isinstance(cell, str | None):
            kind = type(cell).__name__
            if none_yet:
                raise UserError(
                    f"{name}: column '{column}' holds {kind}, not text; data.text_column=… names "
                    "another column"
                )
            left_out.add(f"cells of '{column}' that hold {kind}, not text", name)
        elif cell and _NO_TEXT.search(cell):
            left_out.add(f"cells of '{column}' with NUL or half a surrogate pair", name)
        else:
            none_yet = none_yet and not cell
            yield cell or ""
