"""Turns padding-free batches into the padded ones that usual code processes."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bert_lightning.batch import PretrainBatch


class Padded(NamedTuple):
    """Some examples of a global batch, padded to one length; `n` is their number."""

    token_ids: Tensor
    """`(n, length)`; 0 is padding."""
    token_type_ids: Tensor
    """`(n, length)`."""
    attention_mask: Tensor
    """`(n, length)`: 1 at tokens, 0 at padding."""
    masked_places: Tensor
    """`(n, most)`: the masked positions of each example, padded with position 0."""
    masked_labels: Tensor
    """`(n, most)`: the tokens there, -100 at padding."""
    next_labels: Tensor
    """`(n,)`."""

    def labels(self) -> Tensor:
        """Returns the token at each masked position, -100 elsewhere: `(n, length)`."""
        labels = torch.full_like(self.token_ids, -100)
        example, place = (self.masked_labels != -100).nonzero(as_tuple=True)
        labels[example, self.masked_places[example, place]] = self.masked_labels[example, place]
        return labels


def pad(
    batch: PretrainBatch, size: int, length: int | None, by_length: bool, device: torch.device
) -> list[Padded]:
    """Returns the parts of a batch, of `size` examples each.

    Args:
        batch: the global batch.
        size: examples of a part.
        length: pads all examples to it; None pads each part to its own longest.
        by_length: whether examples of similar length go into one part.
        device: of the parts.
    """
    lengths = batch.sequences.lengths
    order = np.argsort(lengths, kind="stable") if by_length else np.arange(len(lengths))
    ends = batch.sequences.cu_seqlens[1:]
    example = torch.searchsorted(ends, batch.masked_positions, right=True)
    masked = torch.bincount(example, minlength=len(lengths)).tolist()
    places = batch.masked_positions - batch.sequences.cu_seqlens[example]
    columns = {
        "token_ids": batch.sequences.token_ids.split(lengths.tolist()),
        "token_type_ids": batch.sequences.token_type_ids.split(lengths.tolist()),
        "attention_mask": torch.ones_like(batch.sequences.token_ids).split(lengths.tolist()),
        "masked_places": places.split(masked),
        "masked_labels": batch.masked_labels.split(masked),
    }
    parts = []
    for chosen in np.split(order, range(size, len(order), size)):
        padded = {
            name: pad_sequence(
                [values[i] for i in chosen],
                batch_first=True,
                padding_value=-100 if name == "masked_labels" else 0,
            )
            for name, values in columns.items()
        }
        if length is not None:
            for name in ("token_ids", "token_type_ids", "attention_mask"):
                missing = length - padded[name].shape[1]
                padded[name] = torch.nn.functional.pad(padded[name], (0, missing))
        part = Padded(**padded, next_labels=batch.nsp_labels[torch.from_numpy(chosen)])
        parts.append(Padded(*(value.to(device) for value in part)))
    return parts
