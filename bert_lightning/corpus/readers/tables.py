"""Tables of text, from the Hugging Face hub and from files. The only importer of `datasets`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_lightning.config import CorpusConfig
from bert_lightning.errors import UserError
from bert_lightning.hub import UnavailableError, dataset_out_of_reach

TABLES = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}
"""The extensions of table files, and the names of their formats in `datasets`."""


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


def hub_rows(table: Any, data: CorpusConfig) -> Iterator[str]:
    """Yields the texts of a split; with `data.streaming`, each time from the hub."""
    try:
        yield from _texts_of(table, data.text_column, _hub_name(data))
    except UserError:
        raise
    except Exception as error:  # a broken connection, in a dozen types
        raise UnavailableError(
            f"the connection broke while {_hub_name(data)} was read: {error}"
        ) from error


def _hub_name(data: CorpusConfig) -> str:
    return f"{data.hub_repository} ({data.hub_name})"


def file_rows(file: Path, kind: str, column: str) -> Iterator[str]:
    """Yields the texts of a column, except empty ones; `kind` is one of `TABLES`."""
    import datasets

    datasets.disable_progress_bars()
    # A cell of text stays text, even "1984" or "null".
    options = {"converters": {column: str}, "keep_default_na": False} if kind == ".csv" else {}
    try:
        table = datasets.load_dataset(
            TABLES[kind], data_files=str(file), split="train", streaming=True, **options
        )
        yield from _texts_of(table, column, str(file.absolute()))
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(f"{file.absolute()} cannot be read as {kind[1:]}: {cause}") from error


def _texts_of(table: Any, column: str, name: str) -> Iterator[str]:
    for batch in table.iter(batch_size=256):  # rows in memory at once
        instead = f"it has {', '.join(batch)}: name one with data.text_column=…"
        if column not in batch:
            raise UserError(f"{name} has no column '{column}'; {instead}")
        for text in batch[column]:
            if not isinstance(text, str | None):
                kind = type(text).__name__
                raise UserError(f"{name}: column '{column}' holds {kind}, not text; {instead}")
            if text:
                yield text
