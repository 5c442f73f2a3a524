"""Phases against plain Python: what holds in each step, and which examples it sees."""

import random
from dataclasses import replace

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from test_batches import HELD_OUT, examples_of

from bert_lightning.batch import IGNORE_INDEX
from bert_lightning.config import (
    BatchConfig,
    MaskingConfig,
    PairKind,
    PairsConfig,
    PhaseConfig,
)
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.evaluation_set import EvaluationBatches
from bert_lightning.data.phases import Phase, entries, heaviest, passes, phase_options, phases_of
from bert_lightning.errors import UserError

WHOLE = StepPartition(rank=0, world_size=1, accumulation=1)
PHASES = [
    PhaseConfig(0.35, max_length=9, global_batch_size=12),
    PhaseConfig(0.4),
    PhaseConfig(0.25, max_length=16, global_batch_size=36),
]
STEPS = 41
SEED = 7
KINDS = [PairKind.sentence, PairKind.segment, PairKind.none]


@pytest.fixture(scope="module")
def documents(
    small_text: list[list[list[str]]], small_corpus: PreparedCorpus
) -> reference.Documents:
    everything = reference.encoded(small_text, small_corpus.tokenizer.get_vocab())
    return [d for i, d in enumerate(everything) if i not in HELD_OUT]


def epoch_size(documents: reference.Documents, kind: PairKind, length: int) -> int:
    match kind:
        case PairKind.sentence:
            return len(reference.consecutive(documents))
        case PairKind.segment:
            return len(reference.parts(documents, length - 3))
        case PairKind.none:
            return len(reference.blocks(documents, length))


def example(
    documents: reference.Documents,
    data: BatchConfig,
    length: int,
    index: int,
    epoch: int,
    masking: MaskingConfig,
    vocab_size: int,
) -> reference.Example:
    match data.pairs.kind:
        case PairKind.sentence:
            drawn = reference.pair(documents, index, length, SEED, epoch)
        case PairKind.segment:
            drawn = reference.segment_pair(
                documents, index, length, SEED, epoch, "nsp", data.pairs.short_seq_prob
            )
        case PairKind.none:
            drawn = (reference.blocks(documents, length)[index], [], IGNORE_INDEX)
    return reference.masked_example(*drawn, index, epoch, SEED, masking, vocab_size)


@pytest.mark.parametrize("kind", KINDS)
def test_each_step_has_the_examples_of_plain_python(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    documents: reference.Documents,
    kind: PairKind,
) -> None:
    masking = MaskingConfig(0.4, mlm_probability_end=0.1)
    data = replace(small_batch, masking=masking, pairs=PairsConfig(kind), phases=PHASES)
    lengths, sizes = [9, 24, 16], [12, 24, 36]
    epoch_sizes = [epoch_size(documents, kind, length) for length in lengths]
    expected = reference.phased_steps([0.35, 0.4, 0.25], sizes, epoch_sizes, STEPS, SEED)
    seen = [(phase, epoch) for step in expected for phase, epoch, _ in step]
    assert len(set(seen)) >= 4, "no phase goes through its examples more than once"
    assert seen == sorted(seen)

    batches = TrainingBatches(small_corpus, data, SEED, WHOLE, STEPS)
    vocab_size = small_corpus.tokenizer.get_vocab_size()
    for step, drawn in enumerate(expected):
        rate = 0.4 - 0.3 * step / STEPS  # goes on over the whole run
        assert examples_of([batches[step]]) == [
            example(documents, data, lengths[phase], index, epoch, MaskingConfig(rate), vocab_size)
            for phase, epoch, index in drawn
        ]


def test_a_run_in_one_phase_is_a_run_without(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    divided = replace(small_batch, phases=[PhaseConfig(1.0)])
    one, other = (TrainingBatches(small_corpus, d, 5, WHOLE, 20) for d in (small_batch, divided))
    assert examples_of(one[i] for i in range(20)) == examples_of(other[i] for i in range(20))


def test_the_first_phase_is_the_beginning_of_a_run_without_and_the_second_is_new(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    divided = replace(small_batch, phases=[PhaseConfig(0.5), PhaseConfig(0.5)])
    plain, halves = (TrainingBatches(small_corpus, d, 5, WHOLE, 20) for d in (small_batch, divided))
    assert examples_of(halves[i] for i in range(10)) == examples_of(plain[i] for i in range(10))
    for step in range(10):
        assert examples_of([halves[10 + step]]) != examples_of([halves[step]])


def test_every_pair_comes_once_an_epoch_of_a_phase(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    pairs = small_corpus.splits["train"].pairs
    phases = [PhaseConfig(0.5, max_length=12), PhaseConfig(0.5, global_batch_size=36)]
    steps = 2 * -(-2 * pairs // 24)
    batches = TrainingBatches(small_corpus, replace(small_batch, phases=phases), 1, WHOLE, steps)
    first_tokens: list[list[int]] = [[], []]
    for step in range(steps):
        for example in examples_of([batches[step]]):
            original = dict(zip(example.positions, example.labels, strict=True))
            name = original.get(1, example.token_ids[1])  # occurs in one sentence only
            first_tokens[2 * step >= steps].append(name)
    everything = sorted(first_tokens[0][:pairs])
    assert len(set(everything)) == pairs
    for names in first_tokens:
        assert len(names) >= 2 * pairs
        assert sorted(names[:pairs]) == sorted(names[pairs : 2 * pairs]) == everything
        assert names[:pairs] != names[pairs : 2 * pairs]
    assert first_tokens[0][:pairs] != first_tokens[1][:pairs]


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 3), (2, 1), (2, 3), (4, 3)])
def test_the_global_batch_is_the_same_over_any_devices_and_micro_batches(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, world_size: int, accumulation: int
) -> None:
    data = replace(small_batch, phases=PHASES)
    whole = TrainingBatches(small_corpus, data, SEED, WHOLE, STEPS)
    ranks = [
        TrainingBatches(
            small_corpus, data, SEED, StepPartition(rank, world_size, accumulation), STEPS
        )
        for rank in range(world_size)
    ]
    assert {len(rank) for rank in ranks} == {STEPS * accumulation}
    for step in (0, 13, 14, 15, 29, 30, 31, 40):
        parts = [rank[step * accumulation + i] for rank in ranks for i in range(accumulation)]
        in_order = list if world_size == 1 else sorted
        assert in_order(examples_of(parts)) == in_order(examples_of([whole[step]]))
        assert len({len(part.nsp_labels) for part in parts}) == 1
        assert {part.global_counts["mlm"] for part in parts} == {whole[step].global_counts["mlm"]}
        assert {part.global_counts["nsp"] for part in parts} == {len(whole[step].nsp_labels)}


def test_any_order_of_asking_gives_the_same_batches(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    data, share = (
        replace(small_batch, phases=PHASES),
        StepPartition(rank=1, world_size=2, accumulation=3),
    )
    run = TrainingBatches(small_corpus, data, SEED, share, STEPS)
    in_order = [examples_of([run[i]]) for i in range(len(run))]
    order = list(range(len(run)))
    random.Random(0).shuffle(order)
    for i in order:
        assert examples_of([run[i]]) == in_order[i]


def test_held_out_examples_know_nothing_of_phases(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    divided = replace(small_batch, phases=PHASES)
    one, other = (
        EvaluationBatches(small_corpus, "validation", data, 8) for data in (small_batch, divided)
    )
    assert examples_of(one[i] for i in range(len(one))) == examples_of(
        other[i] for i in range(len(other))
    )


@given(
    weights=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    steps=st.integers(1, 3000),
)
def test_phases_follow_each_other_and_end_where_their_shares_do(
    weights: list[int], steps: int
) -> None:
    shares = [weight / sum(weights) for weight in weights]
    data = BatchConfig(phases=[PhaseConfig(share) for share in shares])
    ends = [round(sum(shares[: n + 1]) * steps) for n in range(len(shares))]
    if len({0, *ends}) <= len(ends):
        with pytest.raises(UserError, match=rf"of {steps:,} steps is no step"):
            phases_of(data, steps)
        return
    phases = phases_of(data, steps)
    assert [phase.end for phase in phases] == ends
    assert [phase.start for phase in phases] == [0, *ends[:-1]]
    assert sum(phase.steps for phase in phases) == steps


@pytest.mark.parametrize("pairs", [0, 1, 59, 60, 61, 99, 100, 250])
def test_epochs_are_counted_pair_by_pair(pairs: int) -> None:
    phases = [Phase(9, 6, 0, 10), Phase(24, 4, 10, 20), Phase(16, 8, 20, 30)]
    sizes = [7, 13, 11]
    counted = 0.0
    for pair in range(pairs):
        counted += 1 / (sizes[0] if pair < 60 else sizes[1] if pair < 100 else sizes[2])
    assert passes(pairs, phases, sizes) == pytest.approx(counted)
    assert passes(pairs, phases[:1], sizes[:1]) == pairs / 7


def test_the_options_of_a_phase_are_those_of_a_run_without_phases() -> None:
    assert [entry.fraction for entry in entries(BatchConfig())] == [1.0]
    options = phase_options(BatchConfig(24, global_batch_size=36, phases=PHASES))
    assert [each.phases for each in options] == [None] * 3
    assert [each.max_length for each in options] == [9, 24, 16]
    assert [each.global_batch_size for each in options] == [12, 36, 36]


def test_the_heaviest_phase_has_the_most_tokens_a_step_and_of_equals_the_longest() -> None:
    def length(*phases: PhaseConfig) -> int:
        options = BatchConfig(512, global_batch_size=512, phases=list(phases))
        return heaviest(options).max_length

    assert length(PhaseConfig(0.9, max_length=128), PhaseConfig(0.1)) == 512
    assert length(PhaseConfig(0.9, 128, 4096), PhaseConfig(0.1)) == 128
    assert length(PhaseConfig(0.9, 128, 2048), PhaseConfig(0.1)) == 512


@pytest.mark.parametrize(
    ("phases", "says"),
    [
        ([], r"batch\.phases=\[\] divides the run into no phases"),
        (
            [PhaseConfig(0.9), PhaseConfig(0.2)],
            r"0\.9, 0\.2, add up to 1\.1; they must add up to 1",
        ),
        ([PhaseConfig(1.0), PhaseConfig(0)], r"batch\.phases\[1\]\.fraction=0 must be above 0"),
        ([PhaseConfig(1.5), PhaseConfig(-0.5)], r"phases\[0\]\.fraction=1\.5 must be .* at most 1"),
        ([PhaseConfig(float("nan"))], r"phases\[0\]\.fraction=nan must be"),
        ([PhaseConfig(1, max_length=129)], r"phases\[0\]\.max_length=129 .* batch\.max_length=128"),
        ([PhaseConfig(1, max_length=4)], r"phases\[0\]\.max_length=4 must be at least 5"),
        ([PhaseConfig(1, global_batch_size=0)], r"global_batch_size=0 must be at least 1"),
    ],
)
def test_phases_that_make_no_run_are_refused(phases: list[PhaseConfig], says: str) -> None:
    with pytest.raises(UserError, match=says):
        BatchConfig(phases=phases)


def test_thirds_may_be_rounded() -> None:
    phases = phases_of(BatchConfig(phases=[PhaseConfig(0.3333333)] * 3), 10**6)
    assert [phase.end for phase in phases] == [333_333, 666_667, 10**6]
    assert np.ptp([phase.steps for phase in phases]) <= 1
