"""The batch of a labelled task."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bert_lightning.batch import Sequences


class TaskBatch(NamedTuple):
    """A micro-batch of labelled examples of one rank, with the count that makes its loss exact."""

    sequences: Sequences
    positions: Tensor
    """`(outputs,)` int64: the token in `sequences.token_ids` that each output belongs to; that of a
    whole sequence is its `[CLS]`."""
    labels: Tensor
    """`(labels,)`: classes, int64, or numbers, float32."""
    widths: np.ndarray
    """`(labels,)`: from how many outputs each label is read; in host memory."""
    output_index: Tensor
    """`(outputs,)` int64: which output of its split each one is."""
    global_counts: Mapping[str, int]
    """By task: its labels in the whole optimizer step, of all ranks and micro-batches."""

    def on(self, device: torch.device) -> "TaskBatch":
        """Returns the same with its tensors on a device."""
        return self._replace(
            sequences=self.sequences.on(device),
            positions=self.positions.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            output_index=self.output_index.to(device, non_blocking=True),
        )

    def part(self, start: int, end: int) -> "TaskBatch":
        """Returns these sequences alone, in memory of its own, with the counts of the step.

        They must be whole examples.
        """
        bounds = self.sequences.cu_seqlens[[start, end]]
        first, last = torch.searchsorted(self.positions, bounds).tolist()
        labels = slice(*np.searchsorted(np.cumsum([0, *self.widths]), (first, last)))
        return self._replace(
            sequences=self.sequences.part(start, end),
            positions=self.positions[first:last] - bounds[0],
            labels=self.labels[labels].clone(),
            widths=self.widths[labels].copy(),
            output_index=self.output_index[first:last].clone(),
        )
