"""Multi-head self-attention over flat sequences; the one place that knows where sequences end.

Sequences of similar length are gathered into a bucket, padded to its longest, and attended to
together: two gathers a layer, and no padding anywhere else.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bert_lightning.config import ModelConfig
from bert_lightning.model.dropout import dropout

BUCKET_STEP = 16
"""Lengths that round up to the same multiple of this share a bucket."""


class Bucket(NamedTuple):
    """Sequences that are attended to together, padded to `length`."""

    sequences: int
    length: int
    attended: Tensor | None
    """`(sequences, 1, 1, length)` bool, False at padding; None where there is none."""


class Buckets(NamedTuple):
    """Where each token of a flat batch stands among the padded slots of its buckets."""

    buckets: list[Bucket]
    token_of_slot: Tensor
    """`(slots,)` int64: the token each slot holds; a padding slot repeats its sequence's first."""
    slot_of_token: Tensor
    """`(total,)` int64: the inverse."""


def bucket_by_length(lengths: np.ndarray, device: torch.device) -> Buckets:
    """Groups sequences of these `lengths` `(sequences,)`, laid end to end, into buckets."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    classes = -(-lengths // BUCKET_STEP)
    buckets, token_of_slot = [], []
    slot_of_token = np.empty(int(lengths.sum()), dtype=np.int64)
    slots = 0
    for value in np.unique(classes):
        members = np.flatnonzero(classes == value)
        length = int(lengths[members].max())
        offsets = np.arange(length)
        attended = offsets < lengths[members, None]  # (sequences, length)
        tokens = starts[members, None] + np.where(attended, offsets, 0)
        slot_of_token[tokens[attended]] = slots + np.flatnonzero(attended)
        token_of_slot.append(tokens.ravel())
        mask = None if attended.all() else torch.from_numpy(attended)[:, None, None, :].to(device)
        buckets.append(Bucket(len(members), length, mask))
        slots += tokens.size
    return Buckets(
        buckets,
        torch.from_numpy(np.concatenate(token_of_slot)).to(device),
        torch.from_numpy(slot_of_token).to(device),
    )


class _Pad(torch.autograd.Function):
    """`(total, width)` → `(slots, width)`; nothing flows back from padding, as nothing reads it."""

    @staticmethod
    def forward(ctx, x: Tensor, token_of_slot: Tensor, slot_of_token: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(slot_of_token)
        return x.index_select(0, token_of_slot)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (slot_of_token,) = ctx.saved_tensors
        return grad.index_select(0, slot_of_token), None, None


class _Unpad(torch.autograd.Function):
    """`(slots, width)` → `(total, width)`; padding slots get gradient 0."""

    @staticmethod
    def forward(ctx, x: Tensor, slot_of_token: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(slot_of_token)
        ctx.slots = len(x)
        return x.index_select(0, slot_of_token)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (slot_of_token,) = ctx.saved_tensors
        return grad.new_zeros(ctx.slots, grad.shape[1]).index_copy_(0, slot_of_token, grad), None


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2.2) with one joint projection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, buckets: Buckets) -> Tensor:
        """Attends within each sequence: `(total, hidden)` → `(total, hidden)`."""
        padded = _Pad.apply(self.query_key_value(x), buckets.token_of_slot, buckets.slot_of_token)
        sizes = [bucket.sequences * bucket.length for bucket in buckets.buckets]
        mixed = [
            self._attend(slots, bucket)
            for slots, bucket in zip(padded.split(sizes), buckets.buckets, strict=True)
        ]
        return self.output(_Unpad.apply(torch.cat(mixed), buckets.slot_of_token))

    def _attend(self, slots: Tensor, bucket: Bucket) -> Tensor:
        n, length = bucket.sequences, bucket.length
        q, k, v = slots.view(n, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        if self.training and self.dropout > 0:
            scores = q @ k.mT * self.head_dim**-0.5  # (n, heads, length, length)
            if bucket.attended is not None:
                scores = scores.masked_fill(~bucket.attended, float("-inf"))
            mixed = dropout(scores.softmax(-1), self.dropout) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bucket.attended)
        return mixed.transpose(1, 2).reshape(n * length, self.heads * self.head_dim)
