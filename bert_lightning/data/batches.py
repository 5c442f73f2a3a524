"""Index → batch: a pure function of the prepared corpus, the options, the seed and the index.

The examples of an optimizer step, their pairing and their masks are the same for any number of
ranks, micro-batches and loader workers, and after a restart at any step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
import torch

from bert_lightning.batch import (
    CLS,
    IGNORE_INDEX,
    MASK,
    SEP,
    SPECIAL_TOKENS,
    PretrainBatch,
    Sequences,
    pack_sequences,
)
from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.masking import mask_tokens, mlm_probability_at, number_of_predictions
from bert_lightning.data.pairs import Pairs, pair_sampler
from bert_lightning.data.phases import EPOCHS_A_PHASE, Phase, by_length, phases_of
from bert_lightning.data.randomness import Stream, permuted, random_bits, with_key

Labeler = Callable[[Pairs, np.ndarray], np.ndarray]
"""Maps examples, and how many tokens of each are predicted, to their int64 labels of an objective.

`IGNORE_INDEX` is none. Every rank calls it on the whole global batch, to count the labels.
"""


def _pair_labels(pairs: Pairs, _: np.ndarray) -> np.ndarray:
    return pairs.nsp_labels


LABELERS: dict[str, Labeler] = {"nsp": _pair_labels}
"""The labels of sequences, by objective; those of `mlm` are tokens."""


@dataclass(frozen=True)
class StepPartition:
    """The part of each optimizer step that one rank computes."""

    rank: int
    world_size: int
    accumulation: int
    """Micro-batches of a step; every rank has as many."""

    def micro_batch_size(self, global_batch_size: int) -> int:
        return global_batch_size // (self.world_size * self.accumulation)


class ExampleBuilder:
    """Builds batches of given examples of one split."""

    def __init__(
        self,
        split: Split,
        tokenizer: Tokenizer,
        config: BatchConfig,
        seed: int,
        labelers: Mapping[str, Labeler],
    ) -> None:
        self.split = split
        self.sampler = pair_sampler(split, config.pairs, config.max_length)
        self.config = config
        self.seed = seed
        self.labelers = labelers
        self.special_ids = {token: special_id(tokenizer, token) for token in SPECIAL_TOKENS}
        vocabulary = np.arange(tokenizer.get_vocab_size())
        self.ordinary_ids = np.setdiff1d(vocabulary, list(self.special_ids.values()))

    def __len__(self) -> int:
        return len(self.sampler)

    def pairs(self, index: np.ndarray, epoch: np.ndarray) -> Pairs:
        """Returns the sentence pairs of the examples `(pairs,)` in their epochs `(pairs,)`."""
        return self.sampler.sample(index, self.seed, epoch)

    def counts(self, index: np.ndarray, epoch: np.ndarray, progress: float) -> dict[str, int]:
        """Counts the labels of these examples, by objective."""
        _, predictions, labels = self._labeled(index, epoch, progress)
        counts = {name: int((each != IGNORE_INDEX).sum()) for name, each in labels.items()}
        return {"mlm": int(predictions.sum()), **counts}

    def build(
        self,
        index: np.ndarray,
        epoch: np.ndarray,
        progress: float,
        global_counts: Mapping[str, int],
    ) -> PretrainBatch:
        """Builds the batch of the examples `(pairs,)` in their epochs, with the step's counts.

        `progress` is the fraction of the run, from 0 to 1, that is done.
        """
        pairs, predictions, labels = self._labeled(index, epoch, progress)
        token_ids, token_types, maskable, word_starts = self._assemble(pairs)
        lengths = pairs.lengths
        sequences = pack_sequences(token_ids, token_types, lengths)
        names = random_bits(random_bits(self.seed, epoch, index))  # mixed once for all places
        masked = mask_tokens(
            token_ids,
            maskable,
            lengths,
            predictions,
            with_key(np.repeat(names, lengths), sequences.position_ids.numpy()),
            self.config.masking,
            self.special_ids[MASK],
            self.ordinary_ids,
            word_starts,
        )
        return PretrainBatch(
            sequences=sequences._replace(token_ids=torch.from_numpy(masked.token_ids)),
            masked_positions=torch.from_numpy(masked.positions),
            masked_labels=torch.from_numpy(masked.labels),
            labels={name: torch.from_numpy(each) for name, each in labels.items()},
            global_counts=global_counts,
        )

    def _labeled(
        self, index: np.ndarray, epoch: np.ndarray, progress: float
    ) -> tuple[Pairs, np.ndarray, dict[str, np.ndarray]]:
        """Returns the pairs, how many tokens of each are predicted, and labels by objective."""
        pairs = self.pairs(index, epoch)
        probability = mlm_probability_at(self.config.masking, progress)
        predictions = number_of_predictions(pairs.lengths, pairs.special, probability)
        labels = {name: label(pairs, predictions) for name, label in self.labelers.items()}
        return pairs, predictions, labels

    def _assemble(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Joins `[CLS] first [SEP] second [SEP]` of all pairs.

        Returns the ids, the types, which may be masked and which begin a word, each `(total,)`.
        """
        one, zero = np.ones_like(pairs.first_length), np.zeros_like(pairs.first_length)
        last = pairs.special - 2  # the second [SEP], where there is a second segment
        lengths = np.stack([one, pairs.first_length, one, pairs.second_length, last], 1).ravel()
        sources = np.stack([zero, pairs.first_start, zero, pairs.second_start, zero], 1).ravel()
        ends = np.cumsum(lengths)
        source = np.arange(ends[-1]) + np.repeat(sources - (ends - lengths), lengths)
        token_ids = self.split.token_ids[source].astype(np.int64)
        maskable = np.ones(len(token_ids), dtype=bool)
        for piece, token in ((0, CLS), (2, SEP), (4, SEP)):
            token_ids[ends[piece::5] - 1] = self.special_ids[token]
            maskable[ends[piece::5] - 1] = False
        word_starts = self.split.word_starts[source]
        segments = np.stack([pairs.first_length + 2, pairs.second_length + last], 1).ravel()
        token_types = np.repeat(np.tile([0, 1], len(pairs.first_length)), segments)
        return token_ids, token_types, maskable, word_starts


class Batch(Protocol):
    """What every batch has, of pretraining and of a labelled task."""

    @property
    def sequences(self) -> Sequences: ...

    def part(self, start: int, end: int) -> Self:
        """Returns these sequences alone, in memory of its own, with the counts of the step."""
        ...


AnyBatch = TypeVar("AnyBatch", bound=Batch)
Built = TypeVar("Built", bound=Batch, covariant=True)


class Examples(Protocol[Built]):
    """The training examples of a phase, from which any batch is built."""

    seed: int

    def __len__(self) -> int: ...

    def counts(self, index: np.ndarray, epoch: np.ndarray, progress: float) -> dict[str, int]:
        """Counts the labels of these examples, by objective."""
        ...

    def build(
        self,
        index: np.ndarray,
        epoch: np.ndarray,
        progress: float,
        global_counts: Mapping[str, int],
    ) -> Built:
        """Builds the batch of the examples in their epochs, with the step's counts."""
        ...


class StepBatches(torch.utils.data.Dataset[AnyBatch]):
    """`batches[i]` is the i-th micro-batch of one rank.

    The examples come in a new random order each epoch; a step that crosses the end of an epoch
    continues with the next one, so every example is seen once an epoch and none is dropped.
    Each phase (`batch.phases`) has `examples` and epochs of its own.
    """

    def __init__(
        self,
        examples: Sequence[Examples[AnyBatch]],
        phases: Sequence[Phase],
        partition: StepPartition,
        steps: int,
    ) -> None:
        self.examples = examples
        self.phases = phases
        self.partition = partition
        self.steps = steps
        self._step: tuple[int, AnyBatch] | None = None
        """The last step: its micro-batches are built together, as that costs no more."""

    def __len__(self) -> int:
        return self.steps * self.partition.accumulation

    def __getitem__(self, index: int) -> AnyBatch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        step, micro_batch = divmod(index, self.partition.accumulation)
        if self.partition.accumulation == 1:
            return self._whole_step(step)
        if self._step is None or self._step[0] != step:
            self._step = step, self._whole_step(step)
        size = len(self._step[1].sequences.lengths) // self.partition.accumulation
        return self._step[1].part(micro_batch * size, (micro_batch + 1) * size)

    def _whole_step(self, step: int) -> AnyBatch:
        """Builds all micro-batches of this rank in a step, as one."""
        number = sum(step >= phase.end for phase in self.phases)
        phase, builder = self.phases[number], self.examples[number]
        pairs = phase.global_batch_size
        position = (step - phase.start) * pairs + np.arange(pairs)
        examples, epochs = self._examples_at(number, position)
        progress = step / self.steps
        counts = builder.counts(examples, epochs, progress)
        size = pairs // self.partition.world_size
        mine = slice(self.partition.rank * size, (self.partition.rank + 1) * size)
        return builder.build(examples[mine], epochs[mine], progress, counts)

    def _examples_at(self, phase: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the examples and epochs at these positions of a phase's endless stream."""
        builder = self.examples[phase]
        passed, place = np.divmod(position, len(builder))
        epoch = phase * EPOCHS_A_PHASE + passed
        example = np.empty_like(place)
        for value in np.unique(epoch):
            now = epoch == value
            keys = builder.seed, Stream.order, int(value)
            example[now] = permuted(place[now], len(builder), *keys)
        return example, epoch


class TrainingBatches(StepBatches[PretrainBatch]):
    """The micro-batches that one rank pretrains on."""

    examples: Sequence[ExampleBuilder]

    def __init__(
        self,
        corpus: PreparedCorpus,
        config: BatchConfig,
        seed: int,
        partition: StepPartition,
        steps: int,
        labelers: Mapping[str, Labeler] = LABELERS,
    ) -> None:
        phases, train = phases_of(config, steps), corpus.splits["train"]
        builders = {
            length: ExampleBuilder(train, corpus.tokenizer, options, seed, labelers)
            for length, options in by_length(config).items()
        }
        super().__init__([builders[phase.max_length] for phase in phases], phases, partition, steps)
