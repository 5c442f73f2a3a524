"""Multi-head self-attention over flat sequences; the one place that knows where sequences end.

On CUDA in half precision it is torch's variable-length flash attention. Elsewhere sequences of
similar length are gathered into a bucket, padded to its longest, and attended to together: two
gathers a layer, and no padding anywhere else.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bert_lightning.batch import Sequences
from bert_lightning.config import ModelConfig
from bert_lightning.model.dropout import dropout
from bert_lightning.model.norm import LayerNorm
from bert_lightning.model.rotary import Rotation, rotate

BUCKET_STEP = 32
"""Lengths that round up to the same multiple of this share a bucket, padded to that multiple: the
width of a vector register in bf16."""


class Bucket(NamedTuple):
    """Sequences that are attended to together, padded to `length`."""

    sequences: int
    length: int
    padding: Tensor
    """`(sequences · heads, 1, length)`: what is added to the scores: -inf at padding, 0 elsewhere.
    """


class Buckets(NamedTuple):
    """Where each head of each token of a flat batch stands in the padded buckets.

    A row is a vector of one head, `(head_dim,)`. Flat rows are in the order `(total, 3, heads)`,
    the 3 being query, key and value; those of a bucket in `(3, sequences, heads, length)`.
    """

    buckets: list[Bucket]
    flat_of_padded: Tensor
    """`(3 · padded rows,)` int64: the flat row in each padded one; padding repeats the first of its
    sequence."""
    padded_of_flat: Tensor
    """`(total · 3 · heads,)` int64: the inverse."""
    mixed_of_flat: Tensor
    """`(total · heads,)` int64: the same for what attention returns, which has no 3."""


def bucket_by_length(lengths: np.ndarray, heads: int, device: torch.device) -> Buckets:
    """Groups sequences of these `lengths` `(sequences,)`, laid end to end, into buckets."""
    starts = np.cumsum(lengths) - lengths
    padded_lengths = -(-lengths // BUCKET_STEP) * BUCKET_STEP
    total, head, part = int(lengths.sum()), np.arange(heads)[:, None], np.arange(3)[:, None, None]
    buckets, flat_of_padded = [], []
    padded_of_flat = np.empty(total * 3 * heads, dtype=np.int64)
    mixed_of_flat = np.empty(total * heads, dtype=np.int64)
    rows = 0
    for length in np.unique(padded_lengths):
        members = np.flatnonzero(padded_lengths == length)
        offsets = np.arange(length)
        real = offsets < lengths[members, None]  # (sequences, length)
        token = (starts[members, None] + np.where(real, offsets, 0))[:, None]
        mixed = token * heads + head  # (sequences, heads, length)
        flat = (token * 3 + part[:, None]) * heads + head  # (3, sequences, heads, length)
        real = np.broadcast_to(real[:, None], mixed.shape)
        mixed_of_flat[mixed[real]] = rows + np.flatnonzero(real)
        real = np.broadcast_to(real, flat.shape)
        padded_of_flat[flat[real]] = 3 * rows + np.flatnonzero(real)
        flat_of_padded.append(flat.ravel())
        padding = np.where(real[0], 0.0, -np.inf).reshape(-1, 1, length)
        buckets.append(
            Bucket(len(members), int(length), torch.from_numpy(padding).float().to(device))
        )
        rows += mixed.size
    return Buckets(
        buckets,
        *(
            torch.from_numpy(index).to(device)
            for index in (np.concatenate(flat_of_padded), padded_of_flat, mixed_of_flat)
        ),
    )


class _Pad(torch.autograd.Function):
    """Flat rows → padded rows; nothing flows back from padding, as nothing reads it."""

    @staticmethod
    def forward(ctx, x: Tensor, flat_of_padded: Tensor, padded_of_flat: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(padded_of_flat)
        return x.index_select(0, flat_of_padded)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (padded_of_flat,) = ctx.saved_tensors
        return grad.index_select(0, padded_of_flat), None, None


class _Unpad(torch.autograd.Function):
    """Padded rows → flat rows; padding gets gradient 0."""

    @staticmethod
    def forward(ctx, x: Tensor, mixed_of_flat: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(mixed_of_flat)
        ctx.rows = len(x)
        return x.index_select(0, mixed_of_flat)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (mixed_of_flat,) = ctx.saved_tensors
        return grad.new_zeros(ctx.rows, grad.shape[1]).index_copy_(0, mixed_of_flat, grad), None


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the buckets of each batch are others
def attend_in_buckets(qkv: Tensor, buckets: Buckets, dropout_p: float) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) within each sequence.

    Args:
        qkv: `(total, 3, heads, head_dim)`.
        buckets: of the same sequences and heads.
        dropout_p: share of the attention weights that are dropped.

    Returns:
        `(total, heads, head_dim)`.
    """
    total, _, heads, head_dim = qkv.shape
    rows = qkv.reshape(-1, head_dim)
    padded = _Pad.apply(rows, buckets.flat_of_padded, buckets.padded_of_flat)
    mixed = []
    sizes = [3 * heads * bucket.sequences * bucket.length for bucket in buckets.buckets]
    for bucket, part in zip(buckets.buckets, padded.split(sizes), strict=True):
        query, key, value = part.view(3, -1, bucket.length, head_dim)
        scores = torch.baddbmm(
            bucket.padding.to(query.dtype), query, key.mT, alpha=head_dim**-0.5
        )  # (sequences · heads, length, length)
        weights = scores.softmax(-1)
        if dropout_p > 0:
            weights = dropout(weights, dropout_p)
        mixed.append((weights @ value).view(-1, head_dim))
    return _Unpad.apply(torch.cat(mixed), buckets.mixed_of_flat).view(total, heads, head_dim)


def attend_in_flash(qkv: Tensor, sequences: Sequences, dropout_p: float) -> Tensor:
    """The same as :func:`attend_in_buckets`, in one kernel that reads flat sequences as they are.

    It is torch's attention over jagged tensors, because `torch.nn.attention.varlen` has no dropout.
    """
    shortest, longest = int(sequences.lengths.min()), int(sequences.lengths.max())
    query, key, value = (
        torch.nested.nested_tensor_from_jagged(
            part, sequences.cu_seqlens, min_seqlen=shortest, max_seqlen=longest
        ).transpose(1, 2)
        for part in qkv.unbind(1)
    )  # (sequences, heads, length of each, head_dim)
    mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout_p)
    return mixed.transpose(1, 2).values()


def flash_reads(x: Tensor) -> bool:
    """Whether flash attention works on these activations, `(total, hidden)`."""
    half = torch.is_autocast_enabled(x.device.type) or x.dtype in (torch.float16, torch.bfloat16)
    return x.is_cuda and half


class Layout(NamedTuple):
    """What attention has to know of a batch, the same in every layer."""

    sequences: Sequences
    buckets: Buckets | None
    """None where flash attention reads flat sequences as they are."""
    rotation: Rotation | None
    """None where positions are part of the embedding."""


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2.2) with one joint projection.

    Queries and keys can be normalised, each head by itself, which keeps the scores from growing
    without bound (Dehghani et al., 2023, https://arxiv.org/abs/2302.05442, section 2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.head_dim = config.head_dim
        self.dropout = config.attention_probs_dropout_prob
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size, config.bias)
        self.output = nn.Linear(config.hidden_size, config.hidden_size, config.bias)
        norm = partial(LayerNorm, self.head_dim, config.layer_norm_eps, bias=config.bias)
        self.query_norm = norm() if config.qk_norm else None
        self.key_norm = norm() if config.qk_norm else None

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Attends within each sequence: `(total, hidden)` → `(total, hidden)`."""
        qkv = self.query_key_value(x).view(len(x), 3, self.heads, self.head_dim)
        if self.query_norm is not None or layout.rotation is not None:
            query, key, value = qkv.unbind(1)  # each (total, heads, head_dim)
            if self.query_norm is not None and self.key_norm is not None:
                query, key = self.query_norm(query), self.key_norm(key)
            if layout.rotation is not None:
                query, key = rotate(query, layout.rotation), rotate(key, layout.rotation)
            qkv = torch.stack([query, key, value], 1)
        dropout_p = self.dropout if self.training else 0.0
        if layout.buckets is None:
            mixed = attend_in_flash(qkv, layout.sequences, dropout_p)
        else:
            mixed = attend_in_buckets(qkv, layout.buckets, dropout_p)
        return self.output(mixed.reshape(len(x), -1))
