"""The statistics of a corpus and of its examples, in plain numbers.

Of a large corpus an even sample is read, and the statistics say how many sentences and examples
that is. Tokens were counted when the corpus was prepared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bert_lightning.batch import UNK, PretrainBatch
from bert_lightning.config import BatchConfig, Overlong
from bert_lightning.corpus.shards.split import sample_of
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.baselines import LabelStatistics
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.phases import phase_options
from bert_lightning.data.randomness import random_bits
from bert_lightning.data.shards.sampler import sampler_of

MOST_SENTENCES = 200_000
"""Sentences of a split that are read, evenly spread over it."""
MOST_EXAMPLES = 16_384
"""Training examples that are built."""
HISTOGRAM_BARS = 16


@dataclass(frozen=True)
class SplitStatistics:
    """One split. Lengths, in tokens, and fractions of sentences come from `sentences_read`."""

    documents: int
    paragraphs: int
    sentences: int
    pairs: int
    tokens: int
    types: int
    """Distinct tokens that occur, except `[UNK]`."""
    unknown_fraction: float
    """Of the tokens."""
    unigram_entropy: float
    """Of the token frequencies, in nats."""
    mean_length: float
    median_length: float
    longest: int
    duplicate_fraction: float
    """Sentences with the same ids as an earlier one; all unknown words are equal."""
    in_training_fraction: float | None
    """Sentences that the training split has as well; None for that split itself."""
    sentences_read: int


@dataclass(frozen=True)
class ExampleStatistics:
    """The first training examples of one maximum length, special tokens included."""

    examples_read: int
    max_length: int
    mean_length: float
    full_fraction: float
    """Examples of `max_length` tokens: truncated, or just fitting."""
    histogram: list[int]
    """Examples of 1 to `bar_width` tokens, then of the next `bar_width` lengths, and so on."""
    bar_width: int
    saved_of_max_length: float
    """Fraction that would be padding if every example were padded to `max_length`."""
    saved_of_longest: float
    """Fraction that would be padding if each global batch were padded to its longest example."""
    predicted_fraction: float
    """Fraction of the tokens that are predicted."""
    overlong_fraction: float = 0.0
    """Fraction of all sentence pairs that are too long for an example."""


@dataclass(frozen=True)
class DataStatistics:
    """A prepared corpus, and the examples that a run makes of it."""

    splits: dict[str, SplitStatistics]
    examples: ExampleStatistics
    """Of `batch.max_length`, the length of held-out examples."""
    phases: list[ExampleStatistics]
    """Of the length of each phase; empty for a run without phases."""
    labels: LabelStatistics | None
    """Of the validation split; None if there is none, or its pairs have no labels."""


def statistics(
    corpus: PreparedCorpus, config: BatchConfig, seed: int, validation: EvaluationSet | None
) -> DataStatistics:
    """Describes a corpus, the first examples of a run, and the evaluation set of validation."""
    train = corpus.splits["train"]
    known = sentence_hashes(*read_sentences(train))

    def examples(options: BatchConfig) -> ExampleStatistics:
        found = describe_examples(training_sample(corpus, options, seed), options.max_length)
        sampler = sampler_of(train, options.pairs, options.max_length)
        dropped = sampler.overlong if options.pairs.overlong is Overlong.drop else 0
        overlong = sampler.overlong / (len(sampler) + dropped)
        return replace(found, overlong_fraction=overlong)

    return DataStatistics(
        splits={
            name: describe_split(split, corpus.tokenizer, None if split is train else known)
            for name, split in corpus.splits.items()
        },
        examples=examples(config),
        phases=[examples(options) for options in phase_options(config)] if config.phases else [],
        labels=validation.label_statistics if validation is not None else None,
    )


def lines(found: DataStatistics) -> list[str]:
    """Returns the statistics in short, for the log of a run."""
    train, labels = found.splits["train"], found.labels
    repeated = "".join(
        f", {split.in_training_fraction:.1%} of {name}'s also in training"
        for name, split in found.splits.items()
        if split.in_training_fraction is not None
    )
    leaks = ""
    if labels:
        leaks = (
            f"; pair labels: majority baseline {labels.majority:.1%}, length-only baseline "
            f"{labels.length_only_accuracy:.1%}{' (the lengths LEAK the labels)' * labels.leak}"
        )
    return [
        f"text: {train.documents:,} documents, {train.sentences:,} sentences, {train.tokens:,} "
        f"tokens, {train.unknown_fraction:.1%} unknown; sentences: {train.duplicate_fraction:.1%} "
        f"duplicates{repeated}",
        f"examples: {_described(found.examples)}{leaks}",
        *(f"examples of phase {n}: {_described(each)}" for n, each in enumerate(found.phases, 1)),
    ]


def _described(examples: ExampleStatistics) -> str:
    return (
        f"{examples.mean_length:.0f} tokens of at most {examples.max_length}, "
        f"{examples.full_fraction:.1%} full; padding saved {examples.saved_of_max_length:.0%}"
    )


def read_sentences(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids `(tokens,)` and lengths `(sentences,)` of all sentences, or of a sample."""
    split = sample_of(split)
    chosen = np.arange(split.sentences)
    if split.sentences > MOST_SENTENCES:
        chosen = np.linspace(0, split.sentences - 1, MOST_SENTENCES).astype(np.int64)
    starts = np.asarray(split.sentence_starts[chosen])
    lengths = np.asarray(split.sentence_starts[chosen + 1]) - starts
    return np.asarray(split.token_ids[np.repeat(starts, lengths) + _places(lengths)]), lengths


def sentence_hashes(token_ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns a number `(sentences,)` uint64 for each sentence: equal for equal ids in order."""
    bits = random_bits(token_ids, _places(lengths))
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(bits, dtype=np.uint64)])
    ends = np.cumsum(lengths)
    return sums[ends] - sums[ends - lengths]


def describe_split(
    split: Split, tokenizer: Tokenizer, training: np.ndarray | None
) -> SplitStatistics:
    """Describes a split; `training` are the hashes of the training sentences, None of itself."""
    token_ids, lengths = read_sentences(split)
    hashes = sentence_hashes(token_ids, lengths)
    counts = split.token_counts
    frequencies = counts[counts > 0] / counts.sum()
    unknown = counts[special_id(tokenizer, UNK)]
    return SplitStatistics(
        documents=split.documents,
        paragraphs=split.paragraphs,
        sentences=split.sentences,
        pairs=split.pairs,
        tokens=len(split.token_ids),
        types=int((counts > 0).sum() - (unknown > 0)),
        unknown_fraction=float(unknown / counts.sum()),
        unigram_entropy=float(-(frequencies * np.log(frequencies)).sum()),
        mean_length=float(lengths.mean()),
        median_length=float(np.median(lengths)),
        longest=int(lengths.max()),
        duplicate_fraction=1 - len(np.unique(hashes)) / len(hashes),
        in_training_fraction=None if training is None else float(np.isin(hashes, training).mean()),
        sentences_read=len(lengths),
    )


def training_sample(corpus: PreparedCorpus, config: BatchConfig, seed: int) -> list[PretrainBatch]:
    """Returns the first global batches of a run without phases, one epoch at most."""
    examples = len(sampler_of(corpus.splits["train"], config.pairs, config.max_length))
    size = min(config.global_batch_size, examples)
    steps = max(1, min(examples, MOST_EXAMPLES) // size)
    partition = StepPartition(rank=0, world_size=1, accumulation=1)
    config = replace(config, phases=None, global_batch_size=size)
    batches = TrainingBatches(corpus, config, seed, partition, steps)
    return [batches[i] for i in range(steps)]


def describe_examples(batches: Sequence[PretrainBatch], max_length: int) -> ExampleStatistics:
    """Describes the lengths of examples, and the padding that unpadded batches save."""
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
    """Returns the position of each token `(tokens,)` in its own sentence."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
