"""Multi-head self-attention over flat sequences; the one place that knows where sequences end.

On CUDA in half precision it is torch's variable-length flash attention. Elsewhere sequences of
similar length are gathered into a bucket, padded to its longest, and attended to together: two
gathers a layer, and no padding anywhere else.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bert_lightning.config import ModelConfig
from bert_lightning.model.dropout import keep_mask
from bert_lightning.model.norm import LayerNorm
from bert_lightning.model.rotary import Rotation, rotate

BUCKET_STEP = 32
"""Lengths that round up to the same multiple of this share a bucket, padded to that multiple: the
width of a vector register in bf16."""


class Bucket(NamedTuple):
    """Sequences that are attended to together, padded to `length`."""

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
        buckets.append(Bucket(int(length), torch.from_numpy(padding).float().to(device)))
        rows += mixed.size
    return Buckets(
        buckets,
        *(
            torch.from_numpy(index).to(device)
            for index in (np.concatenate(flat_of_padded), padded_of_flat, mixed_of_flat)
        ),
    )


def attend_in_buckets(qkv: Tensor, buckets: Buckets, dropout_p: float) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) within each sequence.

    Args:
        qkv: `(total, 3, heads, head_dim)`.
        buckets: of the same sequences and heads.
        dropout_p: share of the attention weights that are dropped.

    Returns:
        `(total, heads, head_dim)`.
    """
    rows = qkv.reshape(-1, qkv.shape[-1])
    return _BucketAttention.apply(rows, buckets, dropout_p).view(len(qkv), *qkv.shape[2:])


class _BucketAttention(torch.autograd.Function):
    """Attention on rows of one head, `(total · 3 · heads, head_dim)` → `(total · heads, head_dim)`.

    The buckets' results and gradients are written side by side into one array each. Put together
    from the buckets by autograd, they would be copied as often as there are layers.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, buckets: Buckets, dropout_p: float) -> Tensor:  # type: ignore[no-untyped-def]
        padded = rows.index_select(0, buckets.flat_of_padded)
        mixed = padded.new_empty(len(padded) // 3, padded.shape[1])
        scale, kept_scale = padded.shape[1] ** -0.5, 1 / (1 - dropout_p)
        saved = []
        for bucket, (query, key, value), out in _each(buckets, padded, mixed):
            scores = torch.baddbmm(bucket.padding.to(rows.dtype), query, key.mT, alpha=scale)
            weights = scores.softmax(-1)  # (sequences · heads, length, length)
            kept = keep_mask(weights, dropout_p) if dropout_p > 0 else None
            torch.bmm(weights if kept is None else weights * kept, value, out=out)
            saved += [weights, kept]
        ctx.save_for_backward(padded, *saved)
        ctx.buckets, ctx.scale, ctx.kept_scale = buckets, scale, kept_scale
        return mixed.index_select(0, buckets.mixed_of_flat).mul_(kept_scale)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        padded, *saved = ctx.saved_tensors
        buckets, scale = ctx.buckets, ctx.scale
        grad_padded = torch.empty_like(padded)
        grad_mixed = grad.new_zeros(len(padded) // 3, padded.shape[1])  # 0 at padding
        grad_mixed.index_copy_(0, buckets.mixed_of_flat, grad * ctx.kept_scale)
        parts = zip(
            _each(buckets, padded, grad_mixed),
            _each(buckets, grad_padded, grad_mixed),
            saved[::2],
            saved[1::2],
            strict=True,
        )
        for (_, (query, key, value), grad_out), (_, grads, _), weights, kept in parts:
            grad_query, grad_key, grad_value = grads
            torch.bmm((weights if kept is None else weights * kept).mT, grad_out, out=grad_value)
            grad_weights = torch.bmm(grad_out, value.mT)
            if kept is not None:
                grad_weights *= kept
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            torch.baddbmm(query, grad_scores, key, beta=0, alpha=scale, out=grad_query)
            torch.baddbmm(key, grad_scores.mT, query, beta=0, alpha=scale, out=grad_key)
        return grad_padded.index_select(0, buckets.padded_of_flat), None, None


def _each(
    buckets: Buckets, padded: Tensor, mixed: Tensor
) -> Iterator[tuple[Bucket, Tensor, Tensor]]:
    """Each bucket's part: `(3, sequences · heads, length, head_dim)`, and of what has no 3."""
    end = 0
    for bucket in buckets.buckets:
        start, end = end, end + bucket.padding.shape[0] * bucket.length
        shape = (-1, bucket.length, padded.shape[1])
        yield bucket, padded[3 * start : 3 * end].view(3, *shape), mixed[start:end].view(shape)


class Ends(NamedTuple):
    """Where flat sequences end, as a flash kernel wants to know it."""

    cu_seqlens: Tensor
    """`(sequences + 1,)` int32."""
    longest: int


def attend_in_flash(qkv: Tensor, ends: Ends, dropout_p: float) -> Tensor:
    """The same as :func:`attend_in_buckets`, in one kernel that reads flat sequences as they are.

    It is the operator beneath `torch.nn.attention.varlen`, which has no dropout, and beneath
    torch's jagged tensors, whose wrapping keeps the host too busy to feed the GPU.
    """
    where = (ends.cu_seqlens, ends.cu_seqlens, ends.longest, ends.longest)  # of queries, of keys
    query, key, value = qkv.unbind(1)  # each (total, heads, head_dim)
    mixed: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, *where, dropout_p, False, False
    )[0]
    return mixed


def flash_reads(x: Tensor) -> bool:
    """Whether flash attention works on these activations, `(total, hidden)`."""
    half = torch.is_autocast_enabled(x.device.type) or x.dtype in (torch.float16, torch.bfloat16)
    return x.is_cuda and half


class Layout(NamedTuple):
    """What attention has to know of a batch, the same in every layer."""

    place: Buckets | Ends
    """Where the sequences are: in buckets, or end to end for flash attention."""
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
        if isinstance(layout.place, Ends):
            mixed = attend_in_flash(qkv, layout.place, dropout_p)
        else:
            mixed = attend_in_buckets(qkv, layout.place, dropout_p)
        return self.output(mixed.reshape(len(x), -1))
