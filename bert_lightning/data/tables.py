"""Tables of text, from the Hugging Face hub and from files. The only importer of `datasets`."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bert_lightning.config import DataConfig
from bert_lightning.errors import UserError

HUB_SECONDS = 6
"""How long the hub may take to answer before it counts as out of reach."""

TABLES = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}
"""The endings of table files, and what `datasets` calls their formats."""


class UnavailableError(Exception):
    """The text cannot be had at present; the message says why."""


def hub_rows(data: DataConfig) -> dict[str, Iterable[str]]:
    """The rows of each split of the hub's data set, from its local cache or the hub.

    Raises:
        UnavailableError: where neither has it; decided within seconds.
    """
    from huggingface_hub import constants

    reason = None if constants.is_offline_mode() else _hub_out_of_reach(data)
    import datasets

    if reason is not None:
        datasets.config.HF_HUB_OFFLINE = True  # what is cached still loads, without retries
        constants.HF_HUB_OFFLINE = True
    try:
        loaded = datasets.load_dataset(
            data.hub_repository, data.hub_name, revision=data.hub_revision
        )
    except Exception as error:  # datasets raises a dozen types for "cannot be had"
        raise UnavailableError(
            f"{data.hub_repository} ({data.hub_name}) is neither in the cache nor to be had from "
            f"the Hugging Face hub ({reason or error})"
        ) from error
    return {split: loaded[split]["text"] for split in loaded}


def _hub_out_of_reach(data: DataConfig) -> str | None:
    """Asks the hub for the data set's entry; says why it does not answer, if it does not.

    `datasets` itself would retry for minutes, and a name server may hang: hence a thread.
    """
    from huggingface_hub import HfApi

    answer: list[str | None] = []

    def ask() -> None:
        try:
            HfApi().dataset_info(
                data.hub_repository, revision=data.hub_revision, timeout=HUB_SECONDS
            )
            answer.append(None)
        except Exception as error:
            answer.append(f"{type(error).__name__}: {error}".split("\n", 1)[0])

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return answer[0] if answer else f"no answer within {HUB_SECONDS} s"


def file_rows(file: Path, column: str) -> Iterable[str]:
    """The texts of a table file's column, empty ones left out.

    Raises:
        UserError: where the file cannot be read, or has no such column of text.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        table: Any = datasets.load_dataset(
            TABLES[file.suffix], data_files=str(file), split="train", keep_in_memory=True
        )
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(
            f"{file.absolute()} cannot be read as {file.suffix[1:]}: {cause}"
        ) from error
    if column not in table.column_names:
        raise UserError(
            f"{file.absolute()} has no column '{column}'; it has "
            f"{', '.join(table.column_names)}: name one with data.text_column=…"
        )
    content = getattr(table.features[column], "dtype", "lists")
    if content not in {"string", "large_string"}:
        raise UserError(
            f"{file.absolute()}: column '{column}' holds {content}, not text; it has "
            f"{', '.join(table.column_names)}: name one with data.text_column=…"
        )
    return (text for text in table[column] if text)
