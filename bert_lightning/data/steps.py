"""Index → micro-batch of a step: which examples, in which epoch, on which rank.

The examples of an optimizer step are the same for any number of ranks, micro-batches and loader
workers, and after a restart at any step.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np
import torch

from bert_lightning.batch import Sequences
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.phases import EPOCHS_A_PHASE, Phase
from bert_lightning.data.randomness import Stream, permuted


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

    def at(self, place: np.ndarray, epoch: int) -> np.ndarray:
        """Returns the examples at these places of an epoch, in its random order."""
        return permuted(place, len(self), self.seed, Stream.order, epoch)

    def sizes(
        self, index: np.ndarray, epoch: np.ndarray, progress: float
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Returns the tokens of each example, and how many labels all have, by objective."""
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
        lengths, counts = builder.sizes(examples, epochs, progress)
        mine = self.partition.places(lengths)
        return builder.build(examples[mine], epochs[mine], progress, counts)

    def _examples_at(self, phase: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the examples and epochs at these positions of a phase's endless stream."""
        builder = self.examples[phase]
        passed, place = np.divmod(position, len(builder))
        epoch = phase * EPOCHS_A_PHASE + passed
        example = np.empty_like(place)
        for value in np.unique(epoch):
            now = epoch == value
            example[now] = builder.at(place[now], int(value))
        return example, epoch
