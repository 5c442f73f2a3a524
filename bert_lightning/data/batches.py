"""Index → batch: a pure function of the prepared corpus, the options, the seed and the index.

Which examples a step has is in `steps`; here they are paired and masked.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from bert_lightning.batch import (
    CLS,
    IGNORE_INDEX,
    MASK,
    SEP,
    SPECIAL_TOKENS,
    PretrainBatch,
    pack_sequences,
)
from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.masking import mask_tokens, mlm_probability_at, number_of_predictions
from bert_lightning.data.pairs import Pairs
from bert_lightning.data.phases import by_length, phases_of
from bert_lightning.data.randomness import random_bits, with_key
from bert_lightning.data.shards.sampler import ShardSampler, sampler_of
from bert_lightning.data.steps import Examples, StepBatches
from bert_lightning.data.word_sampling import WordSampling

Labeler = Callable[[Pairs, np.ndarray], np.ndarray]
"""Maps examples, and how many tokens of each are predicted, to their int64 labels of an objective.

`IGNORE_INDEX` is none. Every rank calls it on the whole global batch, to count the labels.
"""


def _pair_labels(pairs: Pairs, _: np.ndarray) -> np.ndarray:
    return pairs.nsp_labels


LABELERS: dict[str, Labeler] = {"nsp": _pair_labels}
"""The labels of sequences, by objective; those of `mlm` are tokens."""


class ExampleBuilder(Examples[PretrainBatch]):
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
        self.sampler = sampler_of(split, config.pairs, config.max_length)
        self.config = config
        self.seed = seed
        self.labelers = labelers
        self.special_ids = {token: special_id(tokenizer, token) for token in SPECIAL_TOKENS}
        vocabulary = np.arange(tokenizer.get_vocab_size())
        self.ordinary_ids = np.setdiff1d(vocabulary, list(self.special_ids.values()))

    def __len__(self) -> int:
        return len(self.sampler)

    def at(self, place: np.ndarray, epoch: int) -> np.ndarray:
        if isinstance(self.sampler, ShardSampler):
            return self.sampler.at(place, self.seed, epoch)
        return super().at(place, epoch)

    def pairs(self, index: np.ndarray, epoch: np.ndarray) -> Pairs:
        """Returns the sentence pairs of the examples `(pairs,)` in their epochs `(pairs,)`."""
        return self.sampler.sample(index, self.seed, epoch)

    def sizes(
        self, index: np.ndarray, epoch: np.ndarray, progress: float
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Returns the tokens of each example, and how many labels all have, by objective."""
        pairs, predictions, labels = self._labeled(index, epoch, progress)
        counts = {name: int((each != IGNORE_INDEX).sum()) for name, each in labels.items()}
        return pairs.lengths, {"mlm": int(predictions.sum()), **counts}

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
        one, first = np.ones_like(pairs.first_length), pairs.first_start
        last = pairs.special - 2  # the second [SEP], where there is a second segment
        lengths = np.stack([one, pairs.first_length, one, pairs.second_length, last], 1).ravel()
        sources = np.stack([first, first, first, pairs.second_start, first], 1).ravel()
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
        word_sampling: WordSampling | None = None,
    ) -> None:
        self.word_sampling = word_sampling
        phases, train = phases_of(config, steps), corpus.splits["train"]
        builders = {
            length: ExampleBuilder(train, corpus.tokenizer, options, seed, labelers)
            for length, options in by_length(config).items()
        }
        super().__init__([builders[phase.max_length] for phase in phases], phases, partition, steps)

    def _whole_step(self, step: int) -> PretrainBatch:
        batch = super()._whole_step(step)
        if self.word_sampling is None:
            return batch
        return batch._replace(sampled_words=self.word_sampling.at(step))
