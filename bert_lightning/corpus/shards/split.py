"""The training split of a sharded corpus: a split whose arrays are fetched shard by shard."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_lightning.corpus.shards.cache import ShardCache
from bert_lightning.corpus.shards.table import Shard
from bert_lightning.corpus.store import Split
from bert_lightning.errors import UserError

TOGETHER = 8
"""Shards of an epoch whose examples are mixed; the order of a run depends on it."""
NEEDED = 2 * TOGETHER
"""Shards that a step needs, where it crosses from some to the next ones."""
_TOKENS = ("token_ids", "word_starts")
_STARTS = ("sentence_starts", "paragraph_starts", "document_starts")
_NONE = np.zeros(0, np.int64)


class Shards:
    """The shards of a split, of which the last used stay open. It can be pickled."""

    def __init__(self, shards: Sequence[Shard], cache: ShardCache, id_type: str) -> None:
        self.shards = shards
        self.cache = cache
        self.types = {"token_ids": np.dtype(id_type), "word_starts": np.dtype(np.bool_)}
        tokens = np.array([shard.tokens for shard in shards], np.int64)
        self.token_starts = np.concatenate([[0], np.cumsum(tokens)])
        """`(shards + 1,)` where each shard's tokens start among those of all."""
        self._open: OrderedDict[int, Split] = OrderedDict()

    def __len__(self) -> int:
        return len(self.shards)

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards, (self.shards, self.cache, self.types["token_ids"].name)

    def opened(self, number: int) -> Split:
        """Returns a shard as a split, without token counts."""
        if number not in self._open:
            self._open[number] = self._read(number, (*_TOKENS, *_STARTS))
        self._open.move_to_end(number)
        if len(self._open) > NEEDED:
            self._open.popitem(last=False)
        return self._open[number]

    def structure(self, number: int) -> Split:
        """Returns a shard without its tokens, which are most of its bytes."""
        return self._read(number, _STARTS)

    def fetch_ahead(self, numbers: Sequence[int]) -> None:
        """Fetches shards while this process does other work; what fails is fetched again later."""

        def fetch() -> None:
            with suppress(UserError):
                for number in numbers:
                    for file in self.shards[number].files.values():
                        self.cache.fetch(file)

        threading.Thread(target=fetch, daemon=True).start()

    def total(self, what: str) -> int:
        """Returns the tokens, sentences, paragraphs or documents of all shards."""
        return sum(getattr(shard, what) for shard in self.shards)

    def _read(self, number: int, names: tuple[str, ...]) -> Split:
        files = self.shards[number].files
        arrays = {
            name: self.cache.array(files[name], self.types.get(name, np.dtype(np.int64)))
            for name in names
        }
        return Split(**{**dict.fromkeys(_TOKENS, _NONE), **arrays}, token_counts=_NONE)


class _Flat:
    """The array of all tokens; those at given places are read from their shards."""

    def __init__(self, shards: Shards, name: str) -> None:
        self.shards = shards
        self.name = name

    def __len__(self) -> int:
        return int(self.shards.token_starts[-1])

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        starts = self.shards.token_starts
        of_shard = np.searchsorted(starts, places, side="right") - 1
        found = np.empty(len(places), self.shards.types[self.name])
        for number in np.unique(of_shard):
            mine = of_shard == number
            array = getattr(self.shards.opened(int(number)), self.name)
            found[mine] = array[places[mine] - starts[number]]
        return found


class _Starts:
    """The number of starts in all shards, which have the starts themselves."""

    def __init__(self, items: int) -> None:
        self.items = items

    def __len__(self) -> int:
        return self.items + 1


@dataclass(frozen=True)
class ShardedSplit(Split):
    """A split in shards: its counts, its token counts, and tokens by their places in all of it.

    Where sentences, paragraphs and documents start is known within each shard alone.
    """

    shards: Shards


def sharded(shards: Shards, token_counts: np.ndarray) -> ShardedSplit:
    """Returns the split of all shards."""
    arrays: dict[str, Any] = {
        **{name: _Flat(shards, name) for name in _TOKENS},
        "sentence_starts": _Starts(shards.total("sentences")),
        "paragraph_starts": _Starts(shards.total("paragraphs")),
        "document_starts": _Starts(shards.total("documents")),
    }
    return ShardedSplit(**arrays, token_counts=token_counts, shards=shards)


def sample_of(split: Split) -> Split:
    """Returns the part of a split that stands for all of it: the shard with most sentence pairs.

    Of a split without shards that is the split.
    """
    if not isinstance(split, ShardedSplit):
        return split
    pairs = [shard.pairs for shard in split.shards.shards]
    return split.shards.opened(pairs.index(max(pairs)))
