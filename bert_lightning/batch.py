"""The types that travel between rooms.

Shapes: `total` is the number of tokens of all sequences of a batch, laid end to end without
padding; `sequences` is their number (for pre-training, sentence pairs); `masked` is the number of
tokens to predict; `hidden` is the model's width.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The special tokens; a tokenizer built here gives them the ids 0 to 4, in this order."""

IS_NEXT, IS_RANDOM = 0, 1
"""The next-sentence classes, numbered as in Google's and Hugging Face's BERT."""


IGNORE_INDEX = -100
"""The next-sentence label of an example that is no pair; torch's losses pass over it."""


class Sequences(NamedTuple):
    """Token sequences laid end to end: padding does not exist."""

    token_ids: Tensor
    """`(total,)` int64."""
    token_type_ids: Tensor
    """`(total,)` int64: 0 for the first segment, 1 for the second."""
    position_ids: Tensor
    """`(total,)` int64: the place of each token in its own sequence."""
    cu_seqlens: Tensor
    """`(sequences + 1,)` int64: where each sequence starts; the last entry is `total`."""
    lengths: np.ndarray
    """`(sequences,)` int64, always in host memory, so that no device has to be asked for it."""

    def on(self, device: torch.device) -> "Sequences":
        """The same with its tensors on a device."""
        return self._replace(
            token_ids=self.token_ids.to(device, non_blocking=True),
            token_type_ids=self.token_type_ids.to(device, non_blocking=True),
            position_ids=self.position_ids.to(device, non_blocking=True),
            cu_seqlens=self.cu_seqlens.to(device, non_blocking=True),
        )


def lay_end_to_end(
    token_ids: np.ndarray, token_type_ids: np.ndarray, lengths: np.ndarray
) -> Sequences:
    """Packs flat token ids `(total,)` and types `(total,)` of sequences with these `lengths`."""
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
    """What one device sees at a time, with what the exact loss needs to know of the rest."""

    sequences: Sequences
    masked_positions: Tensor
    """`(masked,)` int64: indices into `sequences.token_ids` of the tokens to predict."""
    masked_labels: Tensor
    """`(masked,)` int64: the original tokens there."""
    nsp_labels: Tensor
    """`(sequences,)` int64: `IS_NEXT`, `IS_RANDOM`, or `IGNORE_INDEX` where there is no pair."""
    global_masked: int
    """Predicted tokens of the whole optimiser step: all devices, all micro-batches."""
    global_pairs: int
    """Labelled pairs of the whole optimiser step: all devices, all micro-batches."""

    def on(self, device: torch.device) -> "PretrainBatch":
        """The same with its tensors on a device."""
        return self._replace(
            sequences=self.sequences.on(device),
            masked_positions=self.masked_positions.to(device, non_blocking=True),
            masked_labels=self.masked_labels.to(device, non_blocking=True),
            nsp_labels=self.nsp_labels.to(device, non_blocking=True),
        )

    def part(self, start: int, end: int) -> "PretrainBatch":
        """The batch of these sequences alone, in memory of its own; the counts stay the step's."""
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
            nsp_labels=self.nsp_labels[start:end].clone(),
            global_masked=self.global_masked,
            global_pairs=self.global_pairs,
        )
