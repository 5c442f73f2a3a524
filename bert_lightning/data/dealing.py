"""Which examples of a step each rank computes: about equally many tokens, so that none waits long.

A step of data-parallel training takes as long as its slowest rank. Of examples in random order,
some rank has many long ones; here they are dealt out by their lengths, as many to each rank.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StepPartition:
    """The part of each optimizer step that one rank computes."""

    rank: int
    world_size: int
    accumulation: int
    """Micro-batches of a step; every rank has as many."""
    together: int = 1
    """Consecutive examples of a step that no rank and no micro-batch divides."""

    def micro_batch_size(self, global_batch_size: int) -> int:
        return global_batch_size // (self.world_size * self.accumulation)

    def places(self, lengths: np.ndarray) -> np.ndarray:
        """Returns the places of its examples in the step, one micro-batch after another.

        A function of the lengths `(examples,)` of the whole step, so no rank asks another. One
        rank alone has them all in their order.
        """
        places = np.arange(len(lengths)).reshape(-1, self.together)
        if self.world_size > 1:
            tokens = lengths[places].sum(axis=1)
            mine = deal(tokens, self.world_size)[self.rank]
            places = places[mine[deal(tokens[mine], self.accumulation)]]
        return places.ravel()


def deal(lengths: np.ndarray, hands: int) -> np.ndarray:
    """Deals out examples by their lengths `(examples,)`; returns their places, `(hands, each)`.

    The longest come first, one to each hand in a round. Every second round goes the other way:
    whoever gets the longest of one gets the shortest of the next.

    >>> deal(np.array([3, 9, 4, 8, 5, 7]), hands=2).tolist()  # 9 + 5 + 4, and 3 + 8 + 7
    [[1, 2, 4], [0, 3, 5]]
    """
    rounds = np.argsort(-lengths, kind="stable").reshape(-1, hands)
    rounds[1::2] = rounds[1::2, ::-1].copy()
    return np.sort(rounds.T)
