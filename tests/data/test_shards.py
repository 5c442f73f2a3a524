"""Examples from shards: a function of the index, as those of a corpus without shards."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    CorpusSource,
    Overlong,
    PairKind,
    PairsConfig,
    PairTask,
    TokenizerConfig,
)
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.shards.remote import RemoteFolder
from bert_lightning.corpus.shards.split import TOGETHER, ShardedSplit
from bert_lightning.corpus.shards.writing import add_part
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.pairs import pair_sampler
from bert_lightning.data.shards.order import ShardOrder
from bert_lightning.data.shards.sampler import ShardSampler, sampler_of
from bert_lightning.data.statistics import statistics
from bert_lightning.data.steps import StepPartition

SEED = 3
OPTIONS = [
    PairsConfig(),
    PairsConfig(overlong=Overlong.drop),
    PairsConfig(task=PairTask.sop),
    PairsConfig(PairKind.segment),
    PairsConfig(PairKind.none),
]


@pytest.fixture(scope="module")
def corpus(
    small_corpus: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory
) -> PreparedCorpus:
    add_part(RemoteFolder("memory://examples"), small_corpus, 150)
    cache = str(tmp_path_factory.mktemp("cache"))
    data = CorpusConfig(CorpusSource.shards, path="memory://examples", cache_dir=cache)
    return prepare(data, TokenizerConfig(), PairsConfig())


def train_of(corpus: PreparedCorpus) -> ShardedSplit:
    train = corpus.splits["train"]
    assert isinstance(train, ShardedSplit)
    return train


def plain_order(examples: list[int], seed: int, epoch: int) -> Iterator[tuple[int, int]]:
    """The shard and the example in it, place by place of an epoch, in plain Python."""
    count = len(examples)
    shards = [reference.permuted(n, count, seed, reference.ORDER, epoch) for n in range(count)]
    for group, first in enumerate(range(0, count, TOGETHER)):
        together = shards[first : first + TOGETHER]
        everything = [(shard, n) for shard in together for n in range(examples[shard])]
        for n in range(len(everything)):
            keys = (seed, reference.ORDER, epoch, group)
            yield everything[reference.permuted(n, len(everything), *keys)]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(any),
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
)
def test_the_order_is_that_of_plain_python(examples: list[int], seed: int, epoch: int) -> None:
    order = ShardOrder(np.array(examples))
    found = order.at(np.arange(len(order)), seed, epoch)
    shards = order.shards_of(found)
    within = found - order.starts[shards]
    expected = [*plain_order(examples, seed, epoch)]
    assert list(zip(shards.tolist(), within.tolist(), strict=True)) == expected
    assert sorted(found.tolist()) == list(range(sum(examples)))


def test_an_epoch_comes_to_each_shard_once_and_the_next_in_another_order() -> None:
    order = ShardOrder(np.full(30, 5))
    place = np.arange(len(order))
    epochs = [order.shards_of(order.at(place, SEED, epoch)) for epoch in (0, 1)]
    for shards in epochs:
        groups = [set(shards[n : n + 40].tolist()) for n in range(0, 150, 40)]
        assert [len(group) for group in groups] == [8, 8, 8, 6]
        assert set.union(*groups) == set(range(30))
    assert epochs[0].tolist() != epochs[1].tolist()
    assert set(order.group(4, SEED, 0)) == set(epochs[1][:40].tolist())  # after the last group


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_example_is_that_of_its_shard_alone(
    corpus: PreparedCorpus, options: PairsConfig
) -> None:
    train = train_of(corpus)
    sampler = sampler_of(train, options, 24)
    index = np.random.default_rng(0).permutation(len(sampler))[:60]
    epochs = index % 2
    found = sampler.sample(index, SEED, epochs)
    before = 0
    for number in range(len(train.shards)):
        shard = train.shards.opened(number)
        own = len(pair_sampler(shard, options, 24))
        for place in np.flatnonzero((index >= before) & (index < before + own)):
            local = np.array([index[place] - before])
            pair = pair_sampler(shard, options, 24).sample(local, SEED, epochs[[place]], number)
            assert found.nsp_labels[place] == pair.nsp_labels[0]
            for half in ("first", "second"):
                start, length = (getattr(pair, f"{half}_{part}")[0] for part in ("start", "length"))
                ours = getattr(found, f"{half}_start")[place]
                assert getattr(found, f"{half}_length")[place] == length
                tokens = train.token_ids[np.arange(ours, ours + length)]
                assert np.array_equal(tokens, shard.token_ids[start : start + length])
        before += own
    assert before == len(sampler)


def test_examples_are_counted_once(corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    options = PairsConfig(PairKind.segment)
    first = sampler_of(train_of(corpus), options, 40)
    monkeypatch.delattr(ShardSampler, "_count")
    monkeypatch.setattr(ShardSampler, "_count", None, raising=False)
    again = sampler_of(train_of(corpus), options, 40)
    assert len(again) == len(first)


def parts(batch: PretrainBatch) -> list[torch.Tensor]:
    sequences = batch.sequences
    return [
        *(sequences.token_ids, sequences.token_type_ids, sequences.cu_seqlens),
        *(batch.masked_positions, batch.masked_labels, batch.nsp_labels),
    ]


def equal(a: PretrainBatch, b: PretrainBatch) -> bool:
    same = all(torch.equal(one, other) for one, other in zip(parts(a), parts(b), strict=True))
    return same and a.global_counts == b.global_counts


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_any_step_is_the_same_in_a_new_process_and_after_a_restart(
    corpus: PreparedCorpus, small_batch: BatchConfig, options: PairsConfig
) -> None:
    config = replace(small_batch, pairs=options)
    size = len(sampler_of(corpus.splits["train"], options, config.max_length))
    steps = 2 * size // config.global_batch_size + 2
    whole = TrainingBatches(corpus, config, SEED, StepPartition(0, 1, 1), steps)
    batches = [whole[step] for step in range(steps)]
    resumed = pickle.loads(pickle.dumps(whole))
    for step in (steps - 1, 2, steps // 2):
        assert equal(resumed[step], batches[step])


def test_ranks_and_micro_batches_together_are_the_step(
    corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    def tokens(rank: int, ranks: int, accumulation: int, step: int) -> list[tuple[int, ...]]:
        partition = StepPartition(rank, ranks, accumulation)
        batches = TrainingBatches(corpus, small_batch, SEED, partition, 40)
        found = [batches[step * accumulation + part] for part in range(accumulation)]
        return [
            tuple(ids.tolist())
            for batch in found
            for ids in batch.sequences.token_ids.split(batch.sequences.lengths.tolist())
        ]

    for step in (0, 17, 39):
        one = sorted(tokens(0, 1, 1, step))
        assert sorted([*tokens(0, 2, 1, step), *tokens(1, 2, 1, step)]) == one
        assert sorted([*tokens(0, 2, 3, step), *tokens(1, 2, 3, step)]) == one


def test_statistics_and_baselines_take_the_counts_of_the_table(
    corpus: PreparedCorpus, small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    sets = [EvaluationSet(c, "validation", small_batch, 500) for c in (corpus, small_corpus)]
    assert sets[0].contents.sha256 == sets[1].contents.sha256
    assert sets[0].baselines == sets[1].baselines
    ours, theirs = (
        statistics(c, small_batch, SEED, one).splits["train"]
        for c, one in zip((corpus, small_corpus), sets, strict=True)
    )
    for name in ("documents", "sentences", "pairs", "tokens", "types", "unigram_entropy"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.sentences_read < theirs.sentences_read


def test_the_cache_may_be_removed_while_a_run_reads(
    corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    batches = TrainingBatches(corpus, small_batch, SEED, StepPartition(0, 1, 1), 40)
    expected = [batches[step] for step in (0, 9, 30)]
    folder = Path(train_of(corpus).shards.cache.folder)
    for file in folder.glob("*.bin"):
        file.unlink()
    again = pickle.loads(pickle.dumps(batches))
    assert all(equal(again[step], e) for step, e in zip((0, 9, 30), expected, strict=True))
