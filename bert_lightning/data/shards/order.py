"""The order of an epoch over shards: a few shards at a time, their examples mixed.

Each epoch has the shards in a new random order. Every `TOGETHER` consecutive ones are a group, and
the examples of a group come in one random order. So a step reads from few shards, and an epoch
comes to each shard once.
"""

import numpy as np

from bert_lightning.corpus.shards.split import TOGETHER
from bert_lightning.data.randomness import Stream, permuted


class ShardOrder:
    """Index → shard and example, for shards of so many `examples` `(shards,)`.

    Examples are numbered shard by shard, and `starts` `(shards + 1,)` says from which on.
    """

    def __init__(self, examples: np.ndarray) -> None:
        self.examples = examples
        self.starts = np.concatenate([[0], np.cumsum(examples)])
        self._last: tuple[tuple[int, int], tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        return int(self.starts[-1])

    def shards_of(self, example: np.ndarray) -> np.ndarray:
        """Returns the shard of each example."""
        return np.searchsorted(self.starts, example, side="right") - 1

    def group(self, number: int, seed: int, epoch: int) -> np.ndarray:
        """Returns the shards of a group of an epoch; after the last one come the next epoch's."""
        shards, ends = self._epoch(seed, epoch)
        if number >= len(ends):
            return self.group(number - len(ends), seed, epoch + 1)
        return shards[number * TOGETHER : (number + 1) * TOGETHER]

    def groups_at(self, place: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Returns the group of each place of an epoch."""
        return np.searchsorted(self._epoch(seed, epoch)[1], place, side="right")

    def at(self, place: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Returns the examples at these places of an epoch."""
        ends = self._epoch(seed, epoch)[1]
        groups = self.groups_at(place, seed, epoch)
        found = np.empty_like(place)
        for group in np.unique(groups).tolist():
            now = groups == group
            shards = self.group(group, seed, epoch)
            before = np.cumsum(self.examples[shards]) - self.examples[shards]
            size = int(self.examples[shards].sum())
            inside = place[now] - (ends[group] - size)
            mixed = permuted(inside, size, seed, Stream.order, epoch, group)
            which = np.searchsorted(before, mixed, side="right") - 1
            found[now] = self.starts[shards[which]] + mixed - before[which]
        return found

    def _epoch(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns all shards in the order of an epoch, and the places where its groups end."""
        if self._last is None or self._last[0] != (seed, epoch):
            count = len(self.examples)
            shards = permuted(np.arange(count), count, seed, Stream.order, epoch)
            ends = np.cumsum(self.examples[shards])
            groups = np.append(ends[TOGETHER - 1 : -1 : TOGETHER], ends[-1])
            self._last = (seed, epoch), (shards, groups)
        return self._last[1]
