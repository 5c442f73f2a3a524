"""The types that travel between packages.

Batches are padding-free. Shapes: `total` is the number of tokens of all sequences of a batch;
`sequences` is their number (in pretraining, sentence pairs); `masked` is the number of tokens to
predict; `hidden` is the model's width.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The special tokens; a tokenizer built here gives them the ids 0 to 4, in this order."""

IS_NEXT, IS_RANDOM = 0, 1
"""The next-sentence classes, numbered as in Google's and Hugging Face's BERT."""

IGNORE_INDEX = -100
"""The label of a sequence that an objective does not ask about; torch's losses ignore it."""


class Sequences(NamedTuple):
    """Token sequences without padding, one after another."""

    token_ids: Tensor
    """`(total,)` int64."""
    token_type_ids: Tensor
    """`(total,)` int64: 0 for the first segment, 1 for the second."""
    position_ids: Tensor
    """`(total,)` int64: the position of each token in its own sequence."""
    cu_seqlens: Tensor
    """`(sequences + 1,)` int64, cumulative lengths: where each sequence starts, and `total`."""
    lengths: np.ndarray
    """`(sequences,)` int64, always in host memory, so that no device has to be asked for it."""

    def on(self, device: torch.device) -> "Sequences":
        """Returns the same with its tensors on a device."""
        return self._replace(
            token_ids=self.token_ids.to(device, non_blocking=True),
            token_type_ids=self.token_type_ids.to(device, non_blocking=True),
            position_ids=self.position_ids.to(device, non_blocking=True),
            cu_seqlens=self.cu_seqlens.to(device, non_blocking=True),
        )


def pack_sequences(
    token_ids: np.ndarray, token_type_ids: np.ndarray, lengths: np.ndarray
) -> Sequences:
    """Packs token ids `(total,)` and types `(total,)` of sequences with these `lengths`.

    Two sequences, of three tokens and of one:

    >>> packed = pack_sequences(np.array([2, 7, 3, 8]), np.array([0, 0, 1, 0]), np.array([3, 1]))
    >>> packed.cu_seqlens.tolist(), packed.position_ids.tolist()
    ([0, 3, 4], [0, 1, 2, 0])
    """
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(len(token_ids)) - np.repeat(cu_seqlens[:-1], lengths)
    return Sequences(
        token_ids=torch.from_numpy(np.asarray(token_ids, dtype=np.int64)),
        token_type_ids=torch.from_numpy(np.asarray(token_type_ids, dtype=np.int64)),
        position_ids=torch.from_numpy(positions.astype(np.int64)),
        cu_seqlens=torch.from_numpy(cu_seqlens.astype(np.int64)),
        lengths=np.asarray(lengths, dtype=np.int64),
    )


class PretrainBatch(NamedTuple):
    """A micro-batch of one rank, with the counts that make its loss exact."""

    sequences: Sequences
    masked_positions: Tensor
    """`(masked,)` int64: indices into `sequences.token_ids` of the tokens to predict."""
    masked_labels: Tensor
    """`(masked,)` int64: the original tokens there."""
    labels: Mapping[str, Tensor]
    """By objective, such as `nsp`: `(sequences,)` int64, or `IGNORE_INDEX` where there is none."""
    global_counts: Mapping[str, int]
    """By objective: its labels in the whole optimizer step, of all ranks and micro-batches."""

    @property
    def nsp_labels(self) -> Tensor:
        """`(sequences,)` int64: `IS_NEXT`, `IS_RANDOM`, or `IGNORE_INDEX` for no pair."""
        return self.labels["nsp"]

    def on(self, device: torch.device) -> "PretrainBatch":
        """Returns the same with its tensors on a device."""
        return self._replace(
            sequences=self.sequences.on(device),
            masked_positions=self.masked_positions.to(device, non_blocking=True),
            masked_labels=self.masked_labels.to(device, non_blocking=True),
            labels={
                name: labels.to(device, non_blocking=True) for name, labels in self.labels.items()
            },
        )

    def part(self, start: int, end: int) -> "PretrainBatch":
        """Returns the batch of these sequences alone, in memory of its own.

        The global counts stay those of the optimizer step.
        """
        starts = self.sequences.cu_seqlens[start : end + 1]
        tokens = slice(int(starts[0]), int(starts[-1]))
        first, last = torch.searchsorted(self.masked_positions, starts[[0, -1]]).tolist()
        return PretrainBatch(
            sequences=Sequences(
                token_ids=self.sequences.token_ids[tokens].clone(),
                token_type_ids=self.sequences.token_type_ids[tokens].clone(),
                position_ids=self.sequences.position_ids[tokens].clone(),
                cu_seqlens=starts - starts[0],
                lengths=self.sequences.lengths[start:end].copy(),
            ),
            masked_positions=self.masked_positions[first:last] - starts[0],
            masked_labels=self.masked_labels[first:last].clone(),
            labels={name: labels[start:end].clone() for name, labels in self.labels.items()},
            global_counts=self.global_counts,
        )
