"""Index → batch of labelled examples: the same pure function as in pretraining."""

from collections.abc import Mapping

import numpy as np
import torch

from bert_lightning.batch import pack_sequences
from bert_lightning.data.steps import Examples
from bert_lightning.errors import UserError
from bert_lightning.finetuning.encoding import EncodedSplit
from bert_lightning.finetuning.task_batch import TaskBatch


class TaskExamples(Examples[TaskBatch]):
    """Builds batches of given examples of one split.

    A long sentence of labelled words is several examples here, one for each of its sequences.
    """

    def __init__(self, split: EncodedSplit, task: str, seed: int) -> None:
        self.split = split
        self.task = task
        self.seed = seed

    def __len__(self) -> int:
        return len(self.split)

    def sizes(
        self, index: np.ndarray, epoch: np.ndarray, progress: float
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Returns the tokens of each of these examples, and how many labels all have, by task."""
        lengths = np.diff(self.split.starts[:: self.split.sequences_each])
        return lengths[index], {self.task: int(np.diff(self.split.label_starts)[index].sum())}

    def build(
        self,
        index: np.ndarray,
        epoch: np.ndarray,
        progress: float,
        global_counts: Mapping[str, int],
    ) -> TaskBatch:
        """Builds the batch of these examples `(examples,)`, with the step's counts."""
        split, each = self.split, self.split.sequences_each
        labels = _ranges(split.label_starts, index)
        index = (index[:, None] * each + np.arange(each)).ravel()
        lengths = np.diff(split.starts)[index]
        tokens, outputs = _ranges(split.starts, index), _ranges(split.output_starts, index)
        counts = np.diff(split.output_starts)[index]
        ends = np.cumsum(lengths)
        within = np.arange(len(tokens)) - np.repeat(ends - lengths, lengths)
        second = within >= np.repeat(split.first_lengths[index], lengths)
        places = split.positions[outputs] + np.repeat(ends - lengths, counts)
        return TaskBatch(
            sequences=pack_sequences(split.token_ids[tokens], second, lengths),
            positions=torch.from_numpy(places),
            labels=torch.from_numpy(split.labels[labels]),
            widths=split.widths[labels],
            output_index=torch.from_numpy(outputs),
            global_counts=global_counts,
        )


class TaskEvaluationBatches(torch.utils.data.Dataset[TaskBatch]):
    """A held-out split, every example once; the batches of all ranks together are the split."""

    def __init__(
        self, examples: TaskExamples, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        everything = np.arange(len(examples))
        if len(everything) < world_size:
            raise UserError(
                f"a held-out split has {len(everything)} examples, fewer than the {world_size} "
                "devices: use fewer devices"
            )
        self.examples = examples
        _, self.counts = examples.sizes(everything, np.zeros_like(everything), 0.0)
        count = min(-(-len(everything) // (batch_size * world_size)), len(everything) // world_size)
        self.batches = np.array_split(np.array_split(everything, world_size)[rank], count)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> TaskBatch:
        chosen = self.batches[index]
        return self.examples.build(chosen, np.zeros_like(chosen), 0.0, self.counts)


def _ranges(starts: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns the places of the chosen pieces, one piece after another.

    >>> _ranges(np.array([0, 2, 5, 6]), np.array([2, 0])).tolist()
    [5, 0, 1]
    """
    first, lengths = starts[index], np.diff(starts)[index]
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) + np.repeat(first - (ends - lengths), lengths)
