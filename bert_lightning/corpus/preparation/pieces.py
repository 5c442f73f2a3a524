"""The pieces of texts that are in no files: the hub's tables, and Python's own manual."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from bert_lightning.config import CorpusConfig, Format
from bert_lightning.corpus.preparation import items
from bert_lightning.corpus.readers.builtin import builtin_documents
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.tables import hub_rows, hub_tables
from bert_lightning.corpus.readers.text_files import table_documents


@dataclass(frozen=True)
class ManualPiece:
    """The prose of Python's manual."""

    split: None = None
    bytes: int = 0
    identity: str = "manual"
    whole: None = None

    def raw_documents(self, data: CorpusConfig, left_out: LeftOut) -> Iterator[list[str]]:
        yield from builtin_documents()


class HubTables:
    """The tables of a data set of the hub, loaded where they are first read: in each process."""

    def __init__(self, *where: Any) -> None:
        self._where = where
        self._loaded: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        if not self._loaded:
            self._loaded = hub_tables(*self._where)
        return self._loaded

    def __reduce__(self) -> tuple[Any, ...]:
        return HubTables, self._where


@dataclass(frozen=True)
class HubPiece:
    """A split of a data set of the hub, or a range of its rows."""

    tables: HubTables
    commit: str
    name: str
    """Its split on the hub."""
    split: str | None
    bytes: int
    rows: tuple[int, int] | None = None

    @property
    def identity(self) -> str:
        return f"{self.name} {self.rows}"

    @property
    def whole(self) -> "HubPiece | None":
        return None if self.rows is None else replace(self, bytes=0, rows=None)

    def raw_documents(self, data: CorpusConfig, left_out: LeftOut) -> Iterator[list[str]]:
        table = self.tables()[self.name]
        chosen = table if self.rows is None else table.select(range(*self.rows))
        texts = hub_rows(chosen, data, left_out)
        return table_documents(texts, self.commit, data, left_out)


def hub_pieces(piece: HubPiece, data: CorpusConfig) -> list[HubPiece]:
    """Returns a split in ranges of rows of about `ITEM_BYTES`, where rows are documents."""
    table = piece.tables()[piece.name]
    if data.streaming or data.format is not Format.prose or not len(table):
        return [piece]
    size = table.data.nbytes
    count = max(1, size // items.ITEM_BYTES)
    borders = [len(table) * number // count for number in range(count + 1)]
    return [replace(piece, bytes=size // count, rows=rows) for rows in pairwise(borders)]
