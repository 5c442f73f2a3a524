"""How the examples of a step are dealt out to ranks and micro-batches, by their lengths."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition, deal

LENGTH = st.integers(1, 512)


def plain_deal(lengths: list[int], hands: int) -> list[list[int]]:
    """The same deal, one example after the other."""
    longest_first = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    held: list[list[int]] = [[] for _ in range(hands)]
    turns = [*range(hands), *reversed(range(hands))]
    for number, place in enumerate(longest_first):
        held[turns[number % len(turns)]].append(place)
    return [sorted(hand) for hand in held]


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_hands_are_those_of_plain_python_and_about_equal(
    hands: int, each: int, data: st.DataObject
) -> None:
    size = hands * each
    lengths = data.draw(st.lists(LENGTH, min_size=size, max_size=size))
    dealt = deal(np.array(lengths), hands)
    assert dealt.tolist() == plain_deal(lengths, hands)
    tokens = np.array(lengths)[dealt].sum(axis=1)
    assert tokens.max() - tokens.min() <= max(lengths) - min(lengths)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.data())
def test_every_example_is_in_one_micro_batch_and_groups_stay_together(
    world_size: int, accumulation: int, groups: int, together: int, data: st.DataObject
) -> None:
    size = world_size * accumulation * groups * together
    lengths = np.array(data.draw(st.lists(LENGTH, min_size=size, max_size=size)))
    ranks = [
        StepPartition(rank, world_size, accumulation, together).places(lengths)
        for rank in range(world_size)
    ]
    assert {len(places) for places in ranks} == {size // world_size}
    assert sorted(np.concatenate(ranks).tolist()) == list(range(size))
    for places in ranks:
        of_groups = places.reshape(-1, together)
        assert (of_groups[:, 0] % together == 0).all()
        assert (np.diff(of_groups, axis=1) == 1).all()
    if world_size == 1:
        assert ranks[0].tolist() == list(range(size))


@pytest.mark.parametrize(("world_size", "each", "at_most"), [(8, 64, 1.005), (64, 32, 1.01)])
def test_the_slowest_rank_has_hardly_more_tokens_than_the_mean(
    world_size: int, each: int, at_most: float
) -> None:
    random.seed(0)
    drawn = [random.lognormvariate(4, 0.5) for _ in range(world_size * each)]
    lengths = np.minimum(np.array(drawn, int), 128)
    dealt = [lengths[StepPartition(r, world_size, 1).places(lengths)] for r in range(world_size)]
    tokens = np.sum(dealt, axis=1)
    in_order = lengths.reshape(world_size, each).sum(axis=1)
    assert in_order.max() / in_order.mean() > 1.06
    assert tokens.max() / tokens.mean() < at_most


def test_micro_batches_of_a_rank_are_about_equal_too() -> None:
    lengths = np.random.default_rng(0).integers(5, 129, 8 * 4 * 32)
    micro_batches = lengths[StepPartition(3, 8, 4).places(lengths)].reshape(4, 32).sum(axis=1)
    assert micro_batches.max() / micro_batches.mean() < 1.01


def test_the_batches_of_the_ranks_are_dealt(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    tokens = [
        [
            int(
                TrainingBatches(small_corpus, small_batch, 5, partition, 9)[
                    step
                ].sequences.lengths.sum()
            )
            for partition in (StepPartition(rank, 4, 1) for rank in range(4))
        ]
        for step in range(9)
    ]
    assert max(max(step) / (sum(step) / 4) for step in tokens) < 1.05
