"""Tables of text, from the Hugging Face hub and from files. The only importer of `datasets`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bert_lightning.config import CorpusConfig
from bert_lightning.errors import UserError
from bert_lightning.hub import UnavailableError, dataset_out_of_reach

_ROWS = 256
"""Rows of a table that are in memory at once."""

TABLES = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}
"""The extensions of table files, and the names of their formats in `datasets`."""


def hub_rows(data: CorpusConfig) -> dict[str, Iterable[str]]:
    """Returns the texts of each split of a hub data set, from its local cache or the hub.

    They can be read more than once; with `data.streaming`, each time from the hub.

    Raises:
        UnavailableError: neither has it, which is decided within seconds.
        UserError: the data set has no such column of text.
    """
    from huggingface_hub import constants

    reason = (
        None
        if constants.is_offline_mode()
        else dataset_out_of_reach(data.hub_repository, data.hub_revision)
    )
    import datasets

    if reason is not None:
        datasets.config.HF_HUB_OFFLINE = True  # cached data still load, without retries
        constants.HF_HUB_OFFLINE = True
    try:
        loaded: Any = datasets.load_dataset(
            data.hub_repository,
            data.hub_name,
            revision=data.hub_revision,
            streaming=data.streaming,
        )
    except Exception as error:  # datasets raises a dozen types for "unavailable"
        raise UnavailableError(
            f"{data.hub_repository} ({data.hub_name}) is neither in the cache nor available "
            f"from the Hugging Face hub ({reason or error})"
        ) from error
    name = f"{data.hub_repository} ({data.hub_name})"
    return {split: _Texts(loaded[split], data.text_column, name) for split in loaded}


class _Texts:
    """The texts of a split on the hub, read in batches of rows."""

    def __init__(self, table: Any, column: str, name: str) -> None:
        self.table, self.column, self.name = table, column, name

    def __iter__(self) -> Iterator[str]:
        try:
            batches = self.table.iter(batch_size=_ROWS)
            yield from _texts_of(batches, self.column, self.name)
        except UserError:
            raise
        except Exception as error:  # a broken connection, in a dozen types
            raise UnavailableError(
                f"the connection broke while {self.name} was read: {error}"
            ) from error


def file_rows(file: Path, kind: str, column: str) -> Iterator[str]:
    """Yields the texts of a column of a table file, except empty ones.

    Args:
        file: the file, gzip-compressed or not.
        kind: one of `TABLES`.
        column: the column's name.

    Raises:
        UserError: the file cannot be read, or has no such column of text.
    """
    import datasets

    datasets.disable_progress_bars()
    # A cell of text stays text, even "1984" or "null".
    options = {"converters": {column: str}, "keep_default_na": False} if kind == ".csv" else {}
    try:
        table: Any = datasets.load_dataset(
            TABLES[kind], data_files=str(file), split="train", streaming=True, **options
        )
        yield from _texts_of(table.iter(batch_size=_ROWS), column, str(file.absolute()))
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(f"{file.absolute()} cannot be read as {kind[1:]}: {cause}") from error


def _texts_of(batches: Iterable[dict[str, list[Any]]], column: str, name: str) -> Iterator[str]:
    for batch in batches:
        if column not in batch:
            raise UserError(
                f"{name} has no column '{column}'; it has "
                f"{', '.join(batch)}: name one with data.text_column=…"
            )
        for text in batch[column]:
            if isinstance(text, str):
                if text:
                    yield text
            elif text is not None:
                raise UserError(
                    f"{name}: column '{column}' holds {type(text).__name__}, not text; it has "
                    f"{', '.join(batch)}: name one with data.text_column=…"
                )
