"""Index → batch: a pure function of the prepared corpus, the options, the seed and the index.

The examples of an optimiser step, their pairing and their masks are the same however many devices,
micro-batches or loader workers share the work, and after a restart at any step.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from bert_lightning.batch import (
    CLS,
    IGNORE_INDEX,
    MASK,
    SEP,
    SPECIAL_TOKENS,
    PretrainBatch,
    lay_end_to_end,
)
from bert_lightning.config import BatchConfig, MaskingConfig
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.masking import (
    mask_tokens,
    mlm_probability_at,
    number_of_predictions,
)
from bert_lightning.data.pairs import Pairs, pair_sampler
from bert_lightning.data.phases import EPOCHS_A_PHASE, by_length, phases_of
from bert_lightning.data.randomness import Stream, permuted, random_bits, with_key
from bert_lightning.errors import UserError

_EVALUATION_SEED = 2**32
"""Outside the seeds of runs: held-out pairs and masks are the same in every run."""


@dataclass(frozen=True)
class StepPartition:
    """The part of each optimiser step that one device works on."""

    rank: int
    world_size: int
    accumulation: int
    """Micro-batches a step, the same in all of them."""

    def micro_batch_size(self, global_batch_size: int) -> int:
        """Pairs of a micro-batch, in steps of so many."""
        return global_batch_size // (self.world_size * self.accumulation)


class ExampleBuilder:
    """Makes batches of named examples of one split."""

    def __init__(self, split: Split, tokenizer: Tokenizer, config: BatchConfig, seed: int) -> None:
        self.split = split
        self.sampler = pair_sampler(split, config.pairs, config.max_length)
        self.config = config
        self.seed = seed
        self.cls_id = special_id(tokenizer, CLS)
        self.sep_id = special_id(tokenizer, SEP)
        self.mask_id = special_id(tokenizer, MASK)
        special = [special_id(tokenizer, token) for token in SPECIAL_TOKENS]
        self.ordinary_ids = np.setdiff1d(np.arange(tokenizer.get_vocab_size()), special)

    def __len__(self) -> int:
        """Examples of an epoch."""
        return len(self.sampler)

    def pairs(self, index: np.ndarray, epoch: np.ndarray) -> Pairs:
        """The sentence pairs of the examples `(pairs,)` in their epochs `(pairs,)`."""
        return self.sampler.sample(index, self.seed, epoch)

    def predictions(self, pairs: Pairs, progress: float) -> np.ndarray:
        """How many tokens of each example are predicted, `(pairs,)`, at this part of the run."""
        probability = mlm_probability_at(self.config.masking, progress)
        return number_of_predictions(pairs.lengths, pairs.special, probability)

    def counts(self, index: np.ndarray, epoch: np.ndarray, progress: float) -> tuple[int, int]:
        """How many tokens of these examples are predicted, and how many pairs have a label."""
        pairs = self.pairs(index, epoch)
        labelled = int((pairs.nsp_labels != IGNORE_INDEX).sum())
        return int(self.predictions(pairs, progress).sum()), labelled

    def build(
        self,
        index: np.ndarray,
        epoch: np.ndarray,
        progress: float,
        global_masked: int,
        global_pairs: int,
    ) -> PretrainBatch:
        """The batch of the examples `(pairs,)` in their epochs, with the step's counts.

        `progress` is the part of the run, from 0 to 1, that is done.
        """
        pairs = self.pairs(index, epoch)
        token_ids, token_types, maskable, word_starts = self._assemble(pairs)
        lengths = pairs.lengths
        place = np.arange(len(token_ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        names = random_bits(random_bits(self.seed, epoch, index))  # mixed once for all places
        masked = mask_tokens(
            token_ids,
            maskable,
            lengths,
            self.predictions(pairs, progress),
            with_key(np.repeat(names, lengths), place),
            self.config.masking,
            self.mask_id,
            self.ordinary_ids,
            word_starts,
        )
        return PretrainBatch(
            sequences=lay_end_to_end(masked.token_ids, token_types, lengths),
            masked_positions=torch.from_numpy(masked.positions),
            masked_labels=torch.from_numpy(masked.labels),
            nsp_labels=torch.from_numpy(pairs.nsp_labels),
            global_masked=global_masked,
            global_pairs=global_pairs,
        )

    def _assemble(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`[CLS] first [SEP] second [SEP]` of all pairs, end to end.

        Returns:
            Ids, types, what may be masked, and where words begin, each `(total,)`.
        """
        one, zero = np.ones_like(pairs.first_length), np.zeros_like(pairs.first_length)
        last = pairs.special - 2  # the second [SEP], where there is a second segment
        lengths = np.stack([one, pairs.first_length, one, pairs.second_length, last], 1).ravel()
        sources = np.stack([zero, pairs.first_start, zero, pairs.second_start, zero], 1).ravel()
        ends = np.cumsum(lengths)
        source = np.arange(ends[-1]) + np.repeat(sources - (ends - lengths), lengths)
        token_ids = self.split.token_ids[source].astype(np.int64)
        maskable = np.ones(len(token_ids), dtype=bool)
        for piece, token in ((0, self.cls_id), (2, self.sep_id), (4, self.sep_id)):
            token_ids[ends[piece::5] - 1] = token
            maskable[ends[piece::5] - 1] = False
        word_starts = self.split.word_starts[source]
        segments = np.stack([pairs.first_length + 2, pairs.second_length + last], 1).ravel()
        token_types = np.repeat(np.tile([0, 1], len(pairs.first_length)), segments)
        return token_ids, token_types, maskable, word_starts


class TrainingBatches(torch.utils.data.Dataset[PretrainBatch]):
    """`batches[i]` is the i-th micro-batch of one device.

    The examples come in a new random order each epoch; a step that crosses the end of an epoch
    goes on with the next one, so every sentence pair is seen once an epoch and none is dropped.
    Each phase (`batch.phases`) has epochs of its own.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        config: BatchConfig,
        seed: int,
        share: StepPartition,
        steps: int,
    ) -> None:
        self.phases = phases_of(config, steps)
        train, tokenizer = corpus.splits["train"], corpus.tokenizer
        builders = {
            length: ExampleBuilder(train, tokenizer, options, seed)
            for length, options in by_length(config).items()
        }
        self.examples = [builders[phase.max_length] for phase in self.phases]
        self.share = share
        self.steps = steps
        self._step: tuple[int, PretrainBatch] | None = None
        """The step asked for last: its micro-batches are built together, as that costs no more."""

    def __len__(self) -> int:
        return self.steps * self.share.accumulation

    def __getitem__(self, index: int) -> PretrainBatch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        step, micro_batch = divmod(index, self.share.accumulation)
        if self.share.accumulation == 1:
            return self._whole_step(step)
        if self._step is None or self._step[0] != step:
            self._step = step, self._whole_step(step)
        size = self.share.micro_batch_size(self.phases[self._phase_at(step)].global_batch_size)
        return self._step[1].part(micro_batch * size, (micro_batch + 1) * size)

    def _whole_step(self, step: int) -> PretrainBatch:
        """All micro-batches of this device in a step, as one."""
        number = self._phase_at(step)
        phase, builder = self.phases[number], self.examples[number]
        pairs = phase.global_batch_size
        position = (step - phase.start) * pairs + np.arange(pairs)
        examples, epochs = self._examples_at(number, position)
        progress = step / self.steps
        masked, labelled = builder.counts(examples, epochs, progress)
        size = pairs // self.share.world_size
        mine = slice(self.share.rank * size, (self.share.rank + 1) * size)
        return builder.build(examples[mine], epochs[mine], progress, masked, labelled)

    def _phase_at(self, step: int) -> int:
        return sum(step >= phase.end for phase in self.phases)

    def _examples_at(self, phase: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The examples and epochs at these positions of a phase's endless stream of examples."""
        builder = self.examples[phase]
        passed, place = np.divmod(position, len(builder))
        epoch = phase * EPOCHS_A_PHASE + passed
        example = np.empty_like(place)
        for value in np.unique(epoch):
            now = epoch == value
            keys = (builder.seed, Stream.order, int(value))
            example[now] = permuted(place[now], len(builder), *keys)
        return example, epoch


class EvaluationBatches(torch.utils.data.Dataset[PretrainBatch]):
    """A held-out split, every pair once, with pairing and masks that never change.

    The masks are BERT's, 15 % of single tokens, however training masks: losses stay comparable.

    Each device gets the same number of batches; together they are the split.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        split: str,
        config: BatchConfig,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        config = replace(config, masking=MaskingConfig())
        self.examples = ExampleBuilder(
            corpus.splits[split], corpus.tokenizer, config, _EVALUATION_SEED
        )
        everything = np.arange(len(self.examples))
        epoch = np.zeros_like(everything)
        self.masked, self.labelled = self.examples.counts(everything, epoch, 0.0)
        if len(everything) < world_size:
            raise UserError(
                f"the {split} split makes {len(everything)} examples, fewer than the {world_size} "
                "devices; hold out more of the corpus or use fewer devices"
            )
        # No batch is empty: where they hold one pair each, some hold two instead.
        count = min(-(-len(everything) // (batch_size * world_size)), len(everything) // world_size)
        self.batches = np.array_split(np.array_split(everything, world_size)[rank], count)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> PretrainBatch:
        chosen = self.batches[index]
        return self.examples.build(chosen, np.zeros_like(chosen), 0.0, self.masked, self.labelled)
