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

from bert_lightning.special_tokens import CLS as CLS
from bert_lightning.special_tokens import MASK as MASK
from bert_lightning.special_tokens import PAD as PAD
from bert_lightning.special_tokens import SEP as SEP
from bert_lightning.special_tokens import SPECIAL_TOKENS as SPECIAL_TOKENS
from bert_lightning.special_tokens import UNK as UNK

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
        moved = (tensor.to(device, non_blocking=True) for tensor in self[:-1])
        return Sequences._make([*moved, self.lengths])

    def part(self, start: int, end: int) -> "Sequences":
        """Returns these sequences alone, in memory of its own."""
        starts = self.cu_seqlens[start : end + 1]
        tokens = slice(int(starts[0]), int(starts[-1]))
        by_token = (values[tokens].clone() for values in self[:3])
        return Sequences._make([*by_token, starts - starts[0], self.lengths[start:end].copy()])


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
    arrays = (token_ids, token_type_ids, positions, cu_seqlens)
    tensors = (torch.from_numpy(np.asarray(array, np.int64)) for array in arrays)
    return Sequences._make([*tensors, np.asarray(lengths, np.int64)])


class SampledWords(NamedTuple):
    """The words among which the masked tokens of an optimizer step are predicted."""

    ids: Tensor
    """`(words,)` int64, all different: first the frequent ones, then those drawn."""
    frequent: int
    """How many are in every step."""
    rare: int
    """How many words the others were drawn from."""

    def on(self, device: torch.device) -> "SampledWords":
        """Returns the same with its tensor on a device."""
        return self._replace(ids=self.ids.to(device, non_blocking=True))


class Taught(NamedTuple):
    """What teachers say to a micro-batch: the mean of their logits."""

    vectors: Tensor
    """`(masked, width)`, or more rows. With `weight` and `bias` they make the logits of the masked
    tokens, all of which never have to exist at once."""
    weight: Tensor
    """`(vocab, width)`."""
    bias: Tensor
    """`(vocab,)`."""
    pairs: Tensor | None
    """`(sequences, 2)` logits of the pairs; None where the labels alone teach them."""
    fraction: float
    """Of what a prediction is trained to be; the label is the rest."""


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
    sampled_words: SampledWords | None = None
    """With `objective.sampled_words`: the same for all ranks and micro-batches of a step."""
    taught: Taught | None = None
    """With `objective.teachers`."""

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
            labels={name: ids.to(device, non_blocking=True) for name, ids in self.labels.items()},
            sampled_words=self.sampled_words and self.sampled_words.on(device),
        )

    def part(self, start: int, end: int) -> "PretrainBatch":
        """Returns these sequences alone, in memory of its own, with the counts of the step."""
        bounds = self.sequences.cu_seqlens[[start, end]]
        first, last = torch.searchsorted(self.masked_positions, bounds).tolist()
        return self._replace(
            sequences=self.sequences.part(start, end),
            masked_positions=self.masked_positions[first:last] - bounds[0],
            masked_labels=self.masked_labels[first:last].clone(),
            labels={name: labels[start:end].clone() for name, labels in self.labels.items()},
        )
