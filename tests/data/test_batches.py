"""Batches against plain Python, for any number of ranks, micro-batches and workers."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
import torch
from torch.utils.data import DataLoader, Subset

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    MaskingConfig,
    MaskingUnit,
    TokenizerConfig,
    TokenizerKind,
)
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import ExampleBuilder, TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.evaluation_set import EvaluationBatches
from bert_lightning.errors import UserError

HELD_OUT = range(2, 40, 5)
"""The documents of the small text in its validation split: every fifth."""
WHOLE = StepPartition(rank=0, world_size=1, accumulation=1)
FEW_AND_MANY = MaskingConfig(0.4, mask_replace_prob=0.5, random_replace_prob=0.3)


@pytest.fixture(scope="module")
def documents(
    small_text: list[list[list[str]]], small_corpus: PreparedCorpus
) -> dict[str, reference.Documents]:
    everything = reference.encoded(small_text, small_corpus.tokenizer.get_vocab())
    return {
        "train": [d for i, d in enumerate(everything) if i not in HELD_OUT],
        "validation": [everything[i] for i in HELD_OUT],
    }


def examples_of(batches: Iterable[PretrainBatch]) -> list[reference.Example]:
    """The examples of batches, one by one, with positions counted from each one's start."""
    examples = []
    for batch in batches:
        sequences = batch.sequences
        ends = sequences.cu_seqlens.tolist()
        assert ends == [0, *np.cumsum(sequences.lengths).tolist()]
        tokens, types = sequences.token_ids.tolist(), sequences.token_type_ids.tolist()
        positions, labels = batch.masked_positions.tolist(), batch.masked_labels.tolist()
        in_sequence = sequences.position_ids.tolist()
        assert positions == sorted(positions)
        for start, end, nsp_label in zip(ends, ends[1:], batch.nsp_labels.tolist(), strict=False):
            assert in_sequence[start:end] == list(range(end - start))
            mine = [i for i, position in enumerate(positions) if start <= position < end]
            examples.append(
                reference.Example(
                    tokens[start:end],
                    types[start:end],
                    [positions[i] - start for i in mine],
                    [labels[i] for i in mine],
                    nsp_label,
                )
            )
        assert ends[-1] == len(tokens) == len(types)
    return examples


def as_it_is(batch: PretrainBatch) -> PretrainBatch:
    return batch


def expected_stream(
    documents: reference.Documents, vocab_size: int, data: BatchConfig, seed: int, positions: range
) -> list[reference.Example]:
    pairs = len(reference.consecutive(documents))
    return [
        reference.example(
            documents,
            *reference.example_at(pairs, position, seed),
            seed,
            data.max_length,
            data.masking,
            vocab_size,
        )
        for position in positions
    ]


@pytest.mark.parametrize(
    ("seed", "max_length", "masking"),
    [
        (0, 24, MaskingConfig()),
        (2**32 - 1, 9, FEW_AND_MANY),
        (17, 128, FEW_AND_MANY),
        (3, 5, MaskingConfig()),
    ],
)
def test_training_batches_are_those_of_plain_python_over_two_epochs(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    documents: dict[str, reference.Documents],
    seed: int,
    max_length: int,
    masking: MaskingConfig,
) -> None:
    data = replace(small_batch, max_length=max_length, masking=masking)
    steps = 2 * small_corpus.splits["train"].pairs // 24 + 2
    batches = TrainingBatches(small_corpus, data, seed, WHOLE, steps)
    produced = examples_of(batches[i] for i in range(steps))
    vocab_size = small_corpus.tokenizer.get_vocab_size()
    assert produced == expected_stream(
        documents["train"], vocab_size, data, seed, range(steps * 24)
    )


def test_evaluation_batches_are_those_of_plain_python_whatever_the_run(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    documents: dict[str, reference.Documents],
) -> None:
    held_out = documents["validation"]
    pairs = range(len(reference.consecutive(held_out)))
    size = small_corpus.tokenizer.get_vocab_size()
    expected = [  # the seed 2**32 is no run's
        reference.example(held_out, i, 0, 2**32, 24, small_batch.masking, size) for i in pairs
    ]
    for run_seed in (0, 1):
        torch.manual_seed(run_seed)
        np.random.seed(run_seed)
        batches = EvaluationBatches(small_corpus, "validation", small_batch, 8)
        assert examples_of(batches[i] for i in range(len(batches))) == expected
        assert {batches[0].global_counts["mlm"]} == {sum(len(e.labels) for e in expected)}


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 1000])
def test_every_held_out_pair_comes_once_in_equally_many_batches_a_device(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, world_size: int, batch_size: int
) -> None:
    whole = EvaluationBatches(small_corpus, "validation", small_batch, 1000)
    assert len(whole) == 1
    ranks = [
        EvaluationBatches(small_corpus, "validation", small_batch, batch_size, rank, world_size)
        for rank in range(world_size)
    ]
    assert len({len(rank) for rank in ranks}) == 1
    batches = [rank[i] for rank in ranks for i in range(len(rank))]
    assert examples_of(batches) == examples_of([whole[0]])
    sizes = [len(batch.nsp_labels) for batch in batches]
    assert min(sizes) >= 1
    assert max(sizes) <= max(batch_size, 2)
    assert {(b.global_counts["mlm"], b.global_counts["nsp"]) for b in batches} == {
        (len(whole[0].masked_labels), small_corpus.splits["validation"].pairs)
    }


def test_more_devices_than_held_out_pairs_is_an_error_with_both_numbers(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    pairs = small_corpus.splits["validation"].pairs
    with pytest.raises(UserError, match=rf"{pairs} examples, fewer than the {pairs + 1} "):
        EvaluationBatches(small_corpus, "validation", small_batch, 1, 0, pairs + 1)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_global_batch_is_the_same_over_any_devices_and_micro_batches(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, world_size: int, accumulation: int
) -> None:
    seam = small_corpus.splits["train"].pairs // 24
    steps = seam + 2
    assert small_corpus.splits["train"].pairs % 24, "no step of the test crosses the seam"
    whole = TrainingBatches(small_corpus, small_batch, 5, WHOLE, steps)
    micro = 24 // world_size // accumulation
    ranks = [
        TrainingBatches(
            small_corpus, small_batch, 5, StepPartition(rank, world_size, accumulation), steps
        )
        for rank in range(world_size)
    ]
    assert {len(rank) for rank in ranks} == {steps * accumulation}
    assert {repr(rank.partition.micro_batch_size(24)) for rank in ranks} == {repr(micro)}
    for step in (0, seam - 1, seam, seam + 1):
        parts = [rank[step * accumulation + i] for rank in ranks for i in range(accumulation)]
        in_order = list if world_size == 1 else sorted
        assert in_order(examples_of(parts)) == in_order(examples_of([whole[step]]))
        assert {len(part.nsp_labels) for part in parts} == {micro}
        masked = sum(len(part.masked_labels) for part in parts)
        assert {part.global_counts["mlm"] for part in parts} == {masked}
        assert {part.global_counts["nsp"] for part in parts} == {24}
        assert whole[step].global_counts["mlm"] == masked


def test_every_pair_comes_once_an_epoch_also_across_the_seam(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    pairs = small_corpus.splits["train"].pairs
    steps = -(-3 * pairs // 24)
    batches = TrainingBatches(small_corpus, small_batch, 1, WHOLE, steps)
    # The first word of a sentence, which may be masked, names the sentence.
    names = []
    for example in examples_of(batches[i] for i in range(steps)):
        original = dict(zip(example.positions, example.labels, strict=True))
        names.append(original.get(1, example.token_ids[1]))
    split = small_corpus.splits["train"]
    starts = split.sentence_starts[split.first_sentence(np.arange(pairs), split.paragraph_starts)]
    everything = sorted(split.token_ids[starts].tolist())
    assert len(set(everything)) == pairs
    epochs = [names[e * pairs : (e + 1) * pairs] for e in range(3)]
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_masks_of_the_same_pair_differ_between_epochs(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    builder = TrainingBatches(small_corpus, small_batch, 1, WHOLE, 1).examples[0]
    index = np.arange(small_corpus.splits["train"].pairs)
    first, again, second = (
        examples_of([builder.build(index, np.full_like(index, epoch), 0.0, {})])
        for epoch in (0, 0, 1)
    )
    assert first == again
    same_length = [
        (a, b)
        for a, b in zip(first, second, strict=True)
        if len(a.token_ids) == len(b.token_ids) and len(a.positions) > 1
    ]
    assert len(same_length) > 30
    assert np.mean([a.positions == b.positions for a, b in same_length]) < 0.2


@pytest.mark.parametrize("workers", [0, 2])
def test_any_number_of_workers_gives_the_same_batches(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, workers: int
) -> None:
    partition = StepPartition(rank=1, world_size=2, accumulation=3)
    batches = TrainingBatches(small_corpus, small_batch, 2, partition, 4)
    loader = DataLoader(batches, batch_size=None, collate_fn=as_it_is, num_workers=workers)
    torch.manual_seed(workers)
    assert examples_of(loader) == examples_of(batches[i] for i in range(12))


def test_starting_at_a_step_is_the_rest_of_the_run(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    partition = StepPartition(rank=0, world_size=2, accumulation=3)
    run = TrainingBatches(small_corpus, small_batch, 2, partition, 20)
    whole = [run[i] for i in range(len(run))]
    longer = TrainingBatches(small_corpus, small_batch, 2, partition, 99)
    resumed = list(
        DataLoader(Subset(longer, range(15 * 3, 20 * 3)), batch_size=None, collate_fn=as_it_is)
    )
    assert examples_of(resumed) == examples_of(whole[15 * 3 :])
    assert [b.global_counts["mlm"] for b in resumed] == [
        b.global_counts["mlm"] for b in whole[15 * 3 :]
    ]
    assert examples_of([run[7]]) == examples_of([whole[7]]), "it depends on what came before"


def test_micro_batches_in_any_order_and_changed_in_place_stay_what_they_are(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    partition = StepPartition(rank=0, world_size=2, accumulation=3)
    run = TrainingBatches(small_corpus, small_batch, 2, partition, 5)
    whole = examples_of([run[i] for i in range(15)])
    order = [3, 14, 4, 4, 0, 13, 5]
    for i in order:
        batch = run[i]
        assert examples_of([batch]) == whole[4 * i : 4 * i + 4]
        for tensor in (batch.sequences.token_ids, batch.masked_labels, batch.masked_positions):
            tensor.zero_()


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_a_step_is_built_once_and_a_lone_micro_batch_is_not_copied(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    accumulation: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[PretrainBatch] = []
    original = ExampleBuilder.build

    def build(builder: ExampleBuilder, *arguments: Any) -> PretrainBatch:
        built.append(original(builder, *arguments))
        return built[-1]

    monkeypatch.setattr(ExampleBuilder, "build", build)
    partition = StepPartition(rank=0, world_size=1, accumulation=accumulation)
    run = TrainingBatches(small_corpus, small_batch, 2, partition, 3)
    batches = [run[i] for i in range(len(run))]
    assert len(built) == 3
    assert any(batch is built[0] for batch in batches) is (accumulation == 1)


def test_seeds_give_different_orders_and_indices_end(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    one, other = (TrainingBatches(small_corpus, small_batch, s, WHOLE, 2) for s in (0, 1))
    assert examples_of([one[0]]) != examples_of([other[0]])
    for index in (-1, 2):
        with pytest.raises(IndexError, match=f"^{index}$"):
            one[index]


def test_only_words_are_predicted_and_no_random_word_is_special(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    data = replace(small_batch, masking=MaskingConfig(0.5, 0.0, 1.0))
    batches = TrainingBatches(small_corpus, data, 0, WHOLE, 30)
    for example in examples_of(batches[i] for i in range(30)):
        assert min(example.labels) >= 5
        assert min(example.token_ids[place] for place in example.positions) >= 5
        special = [place for place, token in enumerate(example.token_ids) if token < 5]
        assert [example.token_ids[place] for place in special] == [2, 3, 3]


def test_the_fraction_of_predicted_tokens_follows_its_schedule_over_the_run(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    masking = MaskingConfig(0.4, mlm_probability_end=0.1)
    data = replace(small_batch, max_length=64, global_batch_size=64, masking=masking)
    batches = TrainingBatches(small_corpus, data, 0, WHOLE, steps=30)
    for step in (0, 15, 29):
        lengths = batches[step].sequences.lengths
        rate = 0.4 - 0.3 * step / 30
        wanted = sum(max(1, round(rate * n)) for n in lengths.tolist())
        assert len(batches[step].masked_labels) == batches[step].global_counts["mlm"] == wanted


def test_whole_words_reach_the_batches_and_leave_evaluation_alone(
    small_data: CorpusConfig, small_batch: BatchConfig
) -> None:
    pieces = TokenizerConfig(kind=TokenizerKind.wordpiece, vocab_size=60)
    corpus = prepare(small_data, pieces, small_batch.pairs)
    vocabulary = {number: word for word, number in corpus.tokenizer.get_vocab().items()}
    cut_words: dict[MaskingUnit, float] = {}
    stretches: dict[MaskingUnit, float] = {}
    for unit in (MaskingUnit.token, MaskingUnit.word):
        data = replace(small_batch, max_length=64, masking=MaskingConfig(0.3, unit=unit))
        batches = TrainingBatches(corpus, data, 0, WHOLE, steps=10)
        cut = words = apart = 0
        for example in examples_of(batches[i] for i in range(10)):
            tokens = list(example.token_ids)
            for place, label in zip(example.positions, example.labels, strict=True):
                tokens[place] = label
            word_of = np.cumsum([not vocabulary[token].startswith("##") for token in tokens])
            masked = np.isin(np.arange(len(tokens)), example.positions)
            apart += int((np.diff(example.positions, prepend=-1) > 1).sum())
            for word in np.unique(word_of):
                fraction = masked[word_of == word].mean()
                words += fraction > 0
                cut += 0 < fraction < 1
        cut_words[unit], stretches[unit] = cut / words, apart / (10 * 24)
        held_out = EvaluationBatches(corpus, "validation", data, 100)
        lengths = np.concatenate([held_out[i].sequences.lengths for i in range(len(held_out))])
        assert held_out.counts["mlm"] == sum(max(1, round(0.15 * n)) for n in lengths.tolist())
    assert cut_words[MaskingUnit.token] > 0.7
    assert cut_words[MaskingUnit.word] < 0.4  # one an example, where the count is full
    assert 2.2 < stretches[MaskingUnit.word] < stretches[MaskingUnit.token]  # no whole sentences
