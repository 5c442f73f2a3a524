"""The examples of a split in shards, by the sampler of each shard."""

from collections import OrderedDict
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from bert_lightning.config import Overlong, PairKind, PairsConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.manifest import digest
from bert_lightning.corpus.shards.split import NEEDED, ShardedSplit, sample_of
from bert_lightning.corpus.store import Split
from bert_lightning.data.pairs import Pairs, pair_sampler
from bert_lightning.data.randomness import Keys
from bert_lightning.data.shards.order import ShardOrder
from bert_lightning.errors import UserError
from bert_lightning.work import tracked


class Sampler(Protocol):
    """What makes the examples of a split; see `pair_sampler`."""

    overlong: int

    def __len__(self) -> int: ...

    def sample(self, index: np.ndarray, *keys: Keys) -> Pairs: ...


def sampler_of(split: Split, config: PairsConfig, max_length: int) -> Sampler:
    """Returns the sampler of a split, in shards or not; errors are those of `pair_sampler`."""
    if isinstance(split, ShardedSplit):
        return ShardSampler(split, config, max_length)
    return pair_sampler(split, config, max_length)


class ShardSampler:
    """The sampler of a split in shards; a second half comes from the shard of the first one.

    How many examples each shard has decides the order. For sentence pairs within paragraphs the
    table says it; else the starts of all sentences are fetched once to count them, and the cache
    keeps the numbers.

    Raises:
        UserError: no shard has an example.
    """

    def __init__(self, split: ShardedSplit, config: PairsConfig, max_length: int) -> None:
        self.split = split
        self.config = config
        self.max_length = max_length
        shards = split.shards
        within = config.kind is PairKind.sentence and not config.across_paragraphs
        if within and config.overlong is Overlong.truncate:
            examples = np.array([shard.pairs for shard in shards.shards])
            sample = sample_of(split)
            overlong = self._examples(sample)[1] / max(1, sample.pairs) * examples
        else:
            options = {"pairs": to_plain(asdict(config)), "max_length": max_length}
            name = digest({**options, "shards": [asdict(shard) for shard in shards.shards]})
            counted = shards.cache.remembered(f"examples-{name[:16]}", self._count)
            examples, overlong = np.array(counted).T
        self.overlong = round(float(overlong.sum()))
        if not examples.any():
            raise UserError(
                f"no shard of {shards.cache.remote.url} has an example of pairs="
                f"{config.kind.value}: pairs=none pretrains without pairs"
            )
        self.order = ShardOrder(examples)
        self._samplers: OrderedDict[int, Sampler] = OrderedDict()
        self._fetched: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.order)

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the shards itself."""
        return {**self.__dict__, "_samplers": OrderedDict(), "_fetched": None}

    def at(self, place: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Returns the examples at these places of an epoch; fetches the next shards meanwhile."""
        last = epoch, int(self.order.groups_at(place, seed, epoch).max())
        if last != self._fetched:
            self._fetched = last
            self.split.shards.fetch_ahead(self.order.group(last[1] + 1, seed, epoch).tolist())
        return self.order.at(place, seed, epoch)

    def sample(self, index: np.ndarray, *keys: Keys) -> Pairs:
        of_shard = self.order.shards_of(index)
        places = np.argsort(of_shard, kind="stable")
        found = []
        for shard in np.unique(of_shard).tolist():
            mine = of_shard == shard
            own = (key[mine] if isinstance(key, np.ndarray) else key for key in keys)
            pairs = self._sampler(shard).sample(index[mine] - self.order.starts[shard], *own, shard)
            start = self.split.shards.token_starts[shard]
            found.append(
                pairs._replace(
                    first_start=pairs.first_start + start, second_start=pairs.second_start + start
                )
            )
        back = np.argsort(places)
        columns = [np.concatenate(column)[back] for column in zip(*found, strict=True)]
        return type(found[0])(*columns)

    def _sampler(self, shard: int) -> Sampler:
        if shard not in self._samplers:
            self._samplers[shard] = pair_sampler(
                self.split.shards.opened(shard), self.config, self.max_length
            )
        self._samplers.move_to_end(shard)
        if len(self._samplers) > NEEDED:
            self._samplers.popitem(last=False)
        return self._samplers[shard]

    def _count(self) -> list[tuple[int, int]]:
        """Returns how many examples each shard has, and how many of them are overlong."""
        shards = self.split.shards
        numbers = tracked(range(len(shards)), len(shards), "counting examples", "shards")
        return [self._examples(shards.structure(number)) for number in numbers]

    def _examples(self, shard: Split) -> tuple[int, int]:
        try:
            sampler = pair_sampler(shard, self.config, self.max_length)
        except UserError:  # it has none
            return 0, 0
        return len(sampler), sampler.overlong
