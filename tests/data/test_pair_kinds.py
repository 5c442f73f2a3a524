"""The other kinds of pairs: swapped sentences, segments that fill an example, blocks, dropping."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from test_batches import HELD_OUT, examples_of

from bert_lightning.batch import IGNORE_INDEX
from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    Overlong,
    PairKind,
    PairsConfig,
    PairTask,
    TokenizerConfig,
)
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.evaluation_set import EvaluationBatches
from bert_lightning.data.pairs import SegmentPairs, SentencePairs, pair_sampler
from bert_lightning.errors import UserError

ALONE = StepPartition(rank=0, world_size=1, accumulation=1)


@pytest.fixture(scope="module")
def documents(
    small_text: list[list[list[str]]], small_corpus: PreparedCorpus
) -> reference.Documents:
    everything = reference.encoded(small_text, small_corpus.tokenizer.get_vocab())
    return [d for i, d in enumerate(everything) if i not in HELD_OUT]


def expected(
    documents: reference.Documents, vocab_size: int, data: BatchConfig, seed: int, count: int
) -> list[reference.Example]:
    """The first examples of a run, in plain Python."""
    pairs, length = data.pairs, data.max_length
    match pairs.kind, pairs.task:
        case PairKind.sentence, _:
            size = len(reference.consecutive(documents))
        case PairKind.segment, _:
            size = len(reference.parts(documents, length - 3))
        case PairKind.none, _:
            size = len(reference.blocks(documents, length))
    examples = []
    for position in range(count):
        index, epoch = reference.example_at(size, position, seed)
        match pairs.kind:
            case PairKind.sentence:
                drawn = reference.swapped_pair(documents, index, length, seed, epoch)
            case PairKind.segment:
                drawn = reference.segment_pair(
                    documents, index, length, seed, epoch, pairs.task.value, pairs.short_seq_prob
                )
            case PairKind.none:
                drawn = (reference.blocks(documents, length)[index], [], IGNORE_INDEX)
        examples.append(
            reference.masked_example(*drawn, index, epoch, seed, data.masking, vocab_size)
        )
    return examples


@pytest.mark.parametrize("max_length", [9, 40, 128])
@pytest.mark.parametrize(
    "pairs",
    [
        PairsConfig(task=PairTask.sop),
        PairsConfig(PairKind.segment),
        PairsConfig(PairKind.segment, PairTask.sop, short_seq_prob=0.5),
        PairsConfig(PairKind.none),
    ],
    ids=lambda pairs: f"{pairs.kind.value}-{pairs.task.value}",
)
def test_batches_are_those_of_plain_python(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    documents: reference.Documents,
    pairs: PairsConfig,
    max_length: int,
) -> None:
    data = replace(small_batch, max_length=max_length, global_batch_size=16, pairs=pairs)
    batches = TrainingBatches(small_corpus, data, 11, ALONE, steps=6)
    ours = examples_of(batches[i] for i in range(len(batches)))
    vocab_size = small_corpus.tokenizer.get_vocab_size()
    assert ours == expected(documents, vocab_size, data, 11, 6 * 16)


@pytest.mark.parametrize("kind", list(PairKind))
def test_the_counts_that_travel_are_those_of_the_whole_step(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, kind: PairKind
) -> None:
    data = replace(small_batch, max_length=40, global_batch_size=16, pairs=PairsConfig(kind))
    for rank in range(2):
        share = StepPartition(rank, world_size=2, accumulation=2)
        batches = TrainingBatches(small_corpus, data, 11, share, steps=1)
        whole = TrainingBatches(small_corpus, data, 11, ALONE, steps=1)[0]
        for i in range(2):
            assert batches[i].global_counts["mlm"] == len(whole.masked_labels)
            assert batches[i].global_counts["nsp"] == int((whole.nsp_labels != IGNORE_INDEX).sum())
    assert whole.global_counts["nsp"] == (0 if kind is PairKind.none else 16)


def test_blocks_hold_every_token_once(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    data = replace(small_batch, max_length=17, pairs=PairsConfig(PairKind.none))
    batches = EvaluationBatches(small_corpus, "validation", data, batch_size=8)
    split = small_corpus.splits["validation"]
    read = []
    for example in examples_of(batches[i] for i in range(len(batches))):
        tokens = list(example.token_ids)
        for position, label in zip(example.positions, example.labels, strict=True):
            tokens[position] = label
        read += tokens[1:-1]
    assert read == split.token_ids.tolist()
    assert batches.counts["nsp"] == 0
    assert pair_sampler(split, data.pairs, 17).overlong == 0


def test_segments_hold_every_sentence_of_longer_documents_and_mostly_fill(
    wikitext2_corpus: PreparedCorpus,
) -> None:
    split = wikitext2_corpus.splits["train"]
    sampler = SegmentPairs(split, PairsConfig(PairKind.segment), 128)
    held = int((sampler.ends - sampler.starts).sum())
    assert held > 0.999 * split.sentences
    assert (sampler.starts[1:] >= sampler.ends[:-1]).all()
    pairs = sampler.sample(np.arange(len(sampler)), 0, 0)
    assert pairs.lengths.max() == 128
    assert (pairs.lengths > 110).mean() > 0.6
    assert (pairs.first_length > 0).all()
    assert (pairs.second_length > 0).all()
    # about a tenth is cut to a length drawn evenly
    assert 0.03 < (pairs.lengths < 64).mean() < 0.12
    assert abs((pairs.nsp_labels == 0).mean() - 0.5) < 0.02


def test_overlong_pairs_are_counted_and_cut_or_left_out(
    small_corpus: PreparedCorpus, documents: reference.Documents
) -> None:
    split, room = small_corpus.splits["train"], 24 - 3
    whole = [
        len(documents[d][p][s]) + len(documents[d][p][s + 1])
        for d, p, s in reference.consecutive(documents)
    ]
    fitting = [index for index, length in enumerate(whole) if length <= room]
    assert 0 < len(fitting) < len(whole)
    cut = SentencePairs(split, PairsConfig(), 24)
    left_out = SentencePairs(split, PairsConfig(overlong=Overlong.drop), 24)
    assert cut.overlong == left_out.overlong == len(whole) - len(fitting)
    assert (len(cut), len(left_out)) == (len(whole), len(fitting))
    starts = split.sentence_starts
    for epoch in range(3):
        pairs = left_out.sample(np.arange(len(left_out)), 0, epoch)
        first = np.searchsorted(starts, pairs.first_start)
        second = np.searchsorted(starts, pairs.second_start)
        follows = pairs.nsp_labels == 0
        for sentence, length in ((first, pairs.first_length), (second, pairs.second_length)):
            uncut = split.sentence_length(sentence) == length
            assert uncut[follows].all()
            assert uncut.mean() > 0.95  # a random one that never fits is cut in the end


def split_of(documents: list[list[int]]) -> Split:
    """A split of documents of sentences of these lengths, each document in one paragraph."""
    lengths = [length for document in documents for length in document]
    counts = [len(document) for document in documents]
    return Split(
        np.arange(sum(lengths), dtype=np.uint16),
        np.ones(sum(lengths), dtype=bool),
        np.cumsum([0, *lengths]),
        np.cumsum([0, *counts]),
        np.arange(len(documents) + 1),
        np.zeros(1, dtype=np.int64),
    )


@given(
    documents=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=2, max_size=5),
    max_length=st.integers(5, 24),
)
def test_segments_are_those_of_plain_python_in_documents_of_any_size(
    documents: list[list[int]], max_length: int
) -> None:
    tokens = iter(range(10**4))
    text = [[[[next(tokens) for _ in range(size)] for size in sizes]] for sizes in documents]
    split = split_of(documents)
    sampler = SegmentPairs(split, PairsConfig(PairKind.segment), max_length)
    found = [
        split.token_ids[split.sentence_starts[start] : split.sentence_starts[end]].tolist()
        for start, end in zip(sampler.starts, sampler.ends, strict=True)
    ]
    parts = [part for _, part in reference.parts(text, max_length - 3)]
    assert found == [[token for sentence in part for token in sentence] for part in parts]
    assert all(len(part) > 1 for part in parts)


def test_segments_longer_than_an_example_are_counted(
    small_corpus: PreparedCorpus, documents: reference.Documents
) -> None:
    exact = 0
    for max_length in range(16, 48):
        room = max_length - 3
        tokens = [sum(map(len, part)) for _, part in reference.parts(documents, room)]
        sampler = SegmentPairs(
            small_corpus.splits["train"], PairsConfig(PairKind.segment), max_length
        )
        assert sampler.overlong == sum(length > room for length in tokens)
        exact += tokens.count(room)
    assert exact > 0, "no segment of the test fits to the token"


def test_a_random_sentence_that_does_not_fit_is_drawn_again_up_to_eight_times(
    small_corpus: PreparedCorpus, documents: reference.Documents
) -> None:
    split, room = small_corpus.splits["train"], 24 - 3
    flat = [(d, s) for d, document in enumerate(documents) for p in document for s in p]
    places = [
        (d, documents[d][p][s])
        for d, p, s in reference.consecutive(documents)
        if len(documents[d][p][s]) + len(documents[d][p][s + 1]) <= room
    ]
    pairs = SentencePairs(split, PairsConfig(overlong=Overlong.drop), 24).sample(
        np.arange(len(places)), 5, 1
    )
    starts, redrawn, found, drawn = split.sentence_starts, 0, [], []
    for index in np.flatnonzero(pairs.nsp_labels).tolist():
        document, first = places[index]
        others = [place for place, (d, _) in enumerate(flat) if d != document]
        bits = reference.bits(5, 1, reference.SECOND_SENTENCE, index)
        second = others[reference.below(bits, len(others))]
        for attempt in range(8):
            if len(flat[second][1]) > room - len(first):
                redrawn += 1
                again = reference.bits(bits, attempt)
                second = others[reference.below(again, len(others))]
        drawn.append(second)
        found.append(int(np.searchsorted(starts, pairs.second_start[index])))
    assert found == drawn
    assert redrawn > 10


def test_a_large_split_is_read_in_chunks_with_the_same_result(
    small_corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, config = small_corpus.splits["train"], PairsConfig(overlong=Overlong.drop)
    whole = SentencePairs(split, config, 24)
    monkeypatch.setattr("bert_lightning.data.pairs._CHUNK", 7)
    chunks = SentencePairs(split, config, 24)
    assert whole.kept is not None
    assert chunks.kept is not None
    assert chunks.kept.tolist() == whole.kept.tolist()
    assert chunks.overlong == whole.overlong > 0


@pytest.mark.parametrize("task", list(PairTask))
def test_one_document_makes_swapped_pairs_but_no_random_ones(
    small_corpus: PreparedCorpus, task: PairTask
) -> None:
    split = small_corpus.splits["train"]
    paragraphs = split.document_starts[1]
    sentences = split.paragraph_starts[paragraphs]
    one = Split(
        split.token_ids[: split.sentence_starts[sentences]],
        split.word_starts[: split.sentence_starts[sentences]],
        split.sentence_starts[: sentences + 1],
        split.paragraph_starts[: paragraphs + 1],
        split.document_starts[:2],
        split.token_counts,
    )
    if task is PairTask.sop:
        assert len(pair_sampler(one, PairsConfig(task=task), 64)) == one.pairs
    else:
        with pytest.raises(UserError, match=r"there is 1 document.*sop"):
            pair_sampler(one, PairsConfig(task=task), 64)
    assert len(pair_sampler(one, PairsConfig(PairKind.none), 64)) > 0


def test_two_documents_and_lone_sentences_are_enough_where_no_random_half_is_drawn(
    tmp_path: Path, small_data: CorpusConfig
) -> None:
    text = tmp_path / "two.txt"
    text.write_text("One alone here.\nAnother alone.\n\nThe third stands alone.\nAnd the last one.")
    everything = replace(small_data, path=str(text), validation_fraction=0.5, min_sentences=1)
    words = TokenizerConfig(min_frequency=1)
    for pairs in (
        PairsConfig(PairKind.none),
        PairsConfig(PairKind.segment, PairTask.sop),
    ):
        corpus = prepare(everything, words, pairs)
        counts = {name: (split.documents, split.sentences) for name, split in corpus.splits.items()}
        assert counts == {"train": (1, 2), "validation": (1, 2)}
        assert len(pair_sampler(corpus.splits["train"], pairs, 16)) == 1
    with pytest.raises(UserError, match=r"has 2 documents .* and 4 are needed, 2 for each split"):
        prepare(everything, words, PairsConfig(PairKind.segment))
    swapped = PairsConfig(task=PairTask.sop)
    with pytest.raises(UserError, match=r"2 paragraphs.*none of them with 2 sentences.*pairs=none"):
        prepare(everything, words, swapped)
    with pytest.raises(UserError, match=r"2 paragraphs and 2 sentences; pairs=none"):
        pair_sampler(corpus.splits["train"], swapped, 16)
