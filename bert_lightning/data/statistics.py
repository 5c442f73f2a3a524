"""What a corpus and its examples are like, in plain numbers.

All is counted with numpy. Where a corpus is large, an even sample of it is read, and the numbers
say how many sentences and examples that were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bert_lightning.batch import UNK, PretrainBatch
from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.batches import EvaluationBatches, StepPartition, TrainingBatches
from bert_lightning.data.length_baseline import LabelStatistics, describe_labels
from bert_lightning.data.pairs import pair_sampler
from bert_lightning.data.phases import phase_options
from bert_lightning.data.randomness import random_bits

MOST_SENTENCES = 200_000
"""Sentences of a split that are read; of more, these stand evenly spread over it."""
MOST_EXAMPLES = 16_384
"""Examples that are built, of the training and of the validation split."""
HISTOGRAM_BARS = 16


@dataclass(frozen=True)
class SplitStatistics:
    """One split. Lengths are in tokens; what is a share or a length comes from `sentences_read`."""

    documents: int
    paragraphs: int
    sentences: int
    pairs: int
    tokens: int
    types: int
    """Distinct tokens that occur, `[UNK]` not counted."""
    unknown_fraction: float
    """Of the tokens."""
    unigram_entropy: float
    """Of the tokens' own frequencies, in nats."""
    mean_length: float
    median_length: float
    longest: int
    duplicate_fraction: float
    """Sentences whose ids all stand in another one before; unknown words are all alike."""
    in_training_fraction: float | None
    """Sentences that stand in the training split as well; None for that split itself."""
    sentences_read: int


@dataclass(frozen=True)
class ExampleStatistics:
    """The first training examples of some length, special tokens included."""

    examples_read: int
    max_length: int
    mean_length: float
    full_fraction: float
    """Examples of `max_length` tokens: cut, but for those that just fit."""
    histogram: list[int]
    """Examples of 1 to `bar_width` tokens, then as many lengths more with each entry."""
    bar_width: int
    saved_of_max_length: float
    """Share that would be padding if every example were padded to `max_length`."""
    saved_of_longest: float
    """The same, if each global batch were padded to its longest example."""
    predicted_fraction: float
    """Tokens that are predicted."""


@dataclass(frozen=True)
class DataStatistics:
    """A prepared corpus, and the examples that these options make of it."""

    splits: dict[str, SplitStatistics]
    examples: ExampleStatistics
    """Of `batch.max_length`, as held-out ones are."""
    phases: list[ExampleStatistics]
    """Of the length of each phase; empty where the run is not divided."""
    labels: LabelStatistics | None
    """None where there is no validation split, or the pairs have no labels."""


def statistics(corpus: PreparedCorpus, config: BatchConfig, seed: int) -> DataStatistics:
    """Counts a corpus and the examples that a run with this seed begins with."""
    train = corpus.splits["train"]
    known = sentence_hashes(*read_sentences(train))
    batches = training_sample(corpus, config, seed)
    labels = None
    if "validation" in corpus.splits:
        held_out = EvaluationBatches(corpus, "validation", config, config.global_batch_size)
        step = -(-len(held_out.examples) // MOST_EXAMPLES)
        labels = describe_labels(batches, [held_out[i] for i in range(0, len(held_out), step)])
    return DataStatistics(
        splits={
            name: describe_split(split, corpus.tokenizer, None if split is train else known)
            for name, split in corpus.splits.items()
        },
        examples=describe_examples(batches, config.max_length),
        phases=[
            describe_examples(training_sample(corpus, options, seed), options.max_length)
            for options in (phase_options(config) if config.phases else [])
        ],
        labels=labels,
    )


def lines(found: DataStatistics) -> list[str]:
    """The statistics in short, for the log of a run."""
    train, examples, labels = found.splits["train"], found.examples, found.labels
    repeated = "".join(
        f", {split.in_training_fraction:.1%} of {name}'s stand in training too"
        for name, split in found.splits.items()
        if split.in_training_fraction is not None
    )
    told = ""
    if labels:
        told = (
            f"; pair labels: majority {labels.majority:.1%}, "
            f"by lengths alone {labels.length_only_accuracy:.1%}{' (they LEAK)' * labels.leak}"
        )
    phases = [
        f"examples of phase {number}: {phase.mean_length:.0f} tokens of at most "
        f"{phase.max_length}, {phase.full_fraction:.1%} full; padding saved "
        f"{phase.saved_of_max_length:.0%}"
        for number, phase in enumerate(found.phases, 1)
    ]
    return [
        f"text: {train.documents:,} documents, {train.sentences:,} sentences, {train.tokens:,} "
        f"tokens, {train.unknown_fraction:.1%} unknown; sentences: {train.duplicate_fraction:.1%} "
        f"duplicates{repeated}",
        f"examples: {examples.mean_length:.0f} tokens of at most {examples.max_length}, "
        f"{examples.full_fraction:.1%} full; padding saved {examples.saved_of_max_length:.0%}{told}",
        *phases,
    ]


def read_sentences(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The ids `(tokens,)` and lengths `(sentences,)` of the split's sentences, or of a sample."""
    chosen = np.arange(split.sentences)
    if split.sentences > MOST_SENTENCES:
        chosen = np.linspace(0, split.sentences - 1, MOST_SENTENCES).astype(np.int64)
    starts = np.asarray(split.sentence_starts[chosen])
    lengths = np.asarray(split.sentence_starts[chosen + 1]) - starts
    return np.asarray(split.token_ids[np.repeat(starts, lengths) + _places(lengths)]), lengths


def sentence_hashes(token_ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """A number `(sentences,)` uint64 for each sentence: the same for the same ids in order."""
    bits = random_bits(token_ids, _places(lengths))
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(bits, dtype=np.uint64)])
    ends = np.cumsum(lengths)
    return sums[ends] - sums[ends - lengths]


def describe_split(
    split: Split, tokenizer: Tokenizer, training: np.ndarray | None
) -> SplitStatistics:
    """Counts a split; `training` holds the hashes of the training sentences, unless it is that."""
    token_ids, lengths = read_sentences(split)
    hashes = sentence_hashes(token_ids, lengths)
    counts = np.bincount(token_ids, minlength=tokenizer.get_vocab_size())
    shares = counts[counts > 0] / counts.sum()
    unknown = counts[special_id(tokenizer, UNK)]
    return SplitStatistics(
        documents=split.documents,
        paragraphs=split.paragraphs,
        sentences=split.sentences,
        pairs=split.pairs,
        tokens=len(split.token_ids),
        types=int((counts > 0).sum() - (unknown > 0)),
        unknown_fraction=float(unknown / counts.sum()),
        unigram_entropy=float(-(shares * np.log(shares)).sum()),
        mean_length=float(lengths.mean()),
        median_length=float(np.median(lengths)),
        longest=int(lengths.max()),
        duplicate_fraction=1 - len(np.unique(hashes)) / len(hashes),
        in_training_fraction=None if training is None else float(np.isin(hashes, training).mean()),
        sentences_read=len(lengths),
    )


def training_sample(corpus: PreparedCorpus, config: BatchConfig, seed: int) -> list[PretrainBatch]:
    """The global batches that a run in one phase begins with, at most one epoch of them."""
    examples = len(pair_sampler(corpus.splits["train"], config.pairs, config.max_length))
    size = min(config.global_batch_size, examples)
    steps = max(1, min(examples, MOST_EXAMPLES) // size)
    share = StepPartition(rank=0, world_size=1, accumulation=1)
    config = replace(config, phases=None, global_batch_size=size)
    batches = TrainingBatches(corpus, config, seed, share, steps)
    return [batches[i] for i in range(steps)]


def describe_examples(batches: Sequence[PretrainBatch], max_length: int) -> ExampleStatistics:
    """Counts lengths, and the padding that flat batches do without."""
    lengths = np.concatenate([batch.sequences.lengths for batch in batches])
    width = -(-max_length // HISTOGRAM_BARS)
    to_longest = sum(b.sequences.lengths.max() * len(b.sequences.lengths) for b in batches)
    return ExampleStatistics(
        examples_read=len(lengths),
        max_length=max_length,
        mean_length=float(lengths.mean()),
        full_fraction=float((lengths == max_length).mean()),
        histogram=np.bincount((lengths - 1) // width, minlength=-(-max_length // width)).tolist(),
        bar_width=width,
        saved_of_max_length=float(1 - lengths.mean() / max_length),
        saved_of_longest=float(1 - lengths.sum() / to_longest),
        predicted_fraction=float(sum(len(b.masked_labels) for b in batches) / lengths.sum()),
    )


def _places(lengths: np.ndarray) -> np.ndarray:
    """The place of each token `(tokens,)` within its own sentence."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
