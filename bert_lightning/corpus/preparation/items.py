"""The items of a preparation: parts of a text that workers read one by one.

A text is a list of pieces: files, parts of large files, or rows of the hub. Small ones that follow
each other are one item. Neither depends on the workers, so the shards of an interrupted preparation
fit, whoever continues it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.manifest import digest
from bert_lightning.corpus.readers.left_out import LeftOut

ITEM_BYTES = 4 * 2**20
"""The size of an item, where the text can be cut: about a second of work. Larger ones leave
workers idle at the end of all but large texts, and smaller ones have more files than they need."""


class Piece(Protocol):
    """A part of a text whose documents follow from it alone."""

    @property
    def split(self) -> str | None:
        """The split that its documents belong to; None if that follows from their number."""

    @property
    def bytes(self) -> int:
        """Its size, about."""

    @property
    def identity(self) -> str:
        """A text that no other piece of this text has."""

    @property
    def whole(self) -> "Piece | None":
        """The piece that it is a part of; None if it is cut from none."""

    def raw_documents(self, data: CorpusConfig, left_out: LeftOut) -> Iterator[list[str]]:
        """Yields its documents as lists of paragraphs, and counts what it leaves out."""


@dataclass(frozen=True)
class Item:
    """Pieces that one worker reads, one after the other."""

    pieces: tuple[Piece, ...]

    @property
    def split(self) -> str | None:
        return self.pieces[0].split

    @property
    def bytes(self) -> int:
        return sum(piece.bytes for piece in self.pieces)

    @property
    def name(self) -> str:
        """What names its shards; no other item of the text has it."""
        return digest({"pieces": [piece.identity for piece in self.pieces]})[:20]

    @property
    def cut(self) -> bool:
        """Whether it is a part of something that can be read as a whole."""
        return any(piece.whole for piece in self.pieces)


def in_items(pieces: Iterable[Piece]) -> list[Item]:
    """Puts pieces of the same split that follow each other together, up to `ITEM_BYTES`."""
    items: list[Item] = []
    waiting: list[Piece] = []
    size = 0
    for piece in pieces:
        if waiting and (piece.split != waiting[0].split or size + piece.bytes > ITEM_BYTES):
            items.append(Item(tuple(waiting)))
            waiting, size = [], 0
        waiting.append(piece)
        size += piece.bytes
    return [*items, Item(tuple(waiting))] if waiting else items


def uncut(items: Sequence[Item], item: Item) -> list[Item]:
    """Returns the items with the one thing that `item` is a part of as a whole, in its place."""
    (whole,) = {piece.whole for piece in item.pieces}
    changed: list[Item] = []
    for other in items:
        if whole not in {piece.whole for piece in other.pieces}:
            changed.append(other)
        elif whole is not None and (not changed or changed[-1].pieces != (whole,)):
            changed.append(Item((whole,)))
    return changed
