"""Multi-head self-attention without padding; the one place that knows where sequences end.

Sequences of similar length are gathered into a bucket and padded for attention alone: two gathers a
layer. GPUs have faster ways to compute the same; `attention_paths.py` chooses.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bert_lightning.config import ModelConfig
from bert_lightning.model.layers import LayerNorm, keep_mask
from bert_lightning.model.positions import POSITIONS, Prepared

BUCKET_STEP = 32
"""Lengths that round up to the same multiple of this share a bucket, padded to that multiple: the
width of a vector register in bf16."""


class Buckets(NamedTuple):
    """The buckets of a batch, each sequences of similar length, and how vectors get there and back.

    A row is a vector of one head, `(head_dim,)`. The rows of a batch are in the order
    `(total, 3, heads)`, the 3 being query, key and value; those of a bucket in
    `(3, sequences, heads, length)`. What attention returns has no 3.
    """

    paddings: list[Tensor]
    """Of each bucket, `(sequences · heads, 1, length)`: added to the scores, -inf at padding."""
    to_padded: Tensor
    """`(3 · padded rows,)` int64: for each row of the buckets, the row of the batch that it copies;
    padding copies the first of its sequence."""
    from_padded: Tensor
    """`(total · 3 · heads,)` int64: for each row of the batch, its row in the buckets."""
    mixed_from_padded: Tensor
    """`(total · heads,)` int64: the same for what attention returns."""

    def attend(self, qkv: Tensor, dropout_p: float) -> Tensor:
        return attend_in_buckets(qkv, self, dropout_p)


def bucket_by_length(
    lengths: np.ndarray, heads: int, device: torch.device, step: int = BUCKET_STEP
) -> Buckets:
    """Groups the sequences of a batch by their lengths `(sequences,)`, rounded up to a `step`.

    Four tokens in two sequences, `abc` and `d`, with one head, padded to multiples of 4. The batch
    has the rows `a_q a_k a_v b_q … d_v`, 0 to 11. Both sequences share the one bucket, whose
    queries are `a b c a` and `d d d d`; its keys and values follow in the same order:

    >>> made = bucket_by_length(np.array([3, 1]), heads=1, device=torch.device("cpu"), step=4)
    >>> made.to_padded.view(3, 2, 4).tolist()
    [[[0, 3, 6, 0], [9, 9, 9, 9]],
     [[1, 4, 7, 1], [10, 10, 10, 10]],
     [[2, 5, 8, 2], [11, 11, 11, 11]]]
    >>> made.paddings[0][:, 0].tolist()
    [[0.0, 0.0, 0.0, -inf], [0.0, -inf, -inf, -inf]]
    >>> made.from_padded.view(4, 3).tolist()  # the query, key and value of each token
    [[0, 8, 16], [1, 9, 17], [2, 10, 18], [4, 12, 20]]
    >>> made.mixed_from_padded.tolist()
    [0, 1, 2, 4]
    """
    starts = np.cumsum(lengths) - lengths
    padded_lengths = -(-lengths // step) * step
    total, head, part = int(lengths.sum()), np.arange(heads)[:, None], np.arange(3)[:, None, None]
    paddings, to_padded = [], []
    from_padded = np.empty(total * 3 * heads, dtype=np.int64)
    mixed_from_padded = np.empty(total * heads, dtype=np.int64)
    rows = 0
    for length in np.unique(padded_lengths):
        members = np.flatnonzero(padded_lengths == length)
        offsets = np.arange(length)
        real = offsets < lengths[members, None]  # (sequences, length)
        token = (starts[members, None] + np.where(real, offsets, 0))[:, None]
        mixed = token * heads + head  # (sequences, heads, length)
        copied = (token * 3 + part[:, None]) * heads + head  # (3, sequences, heads, length)
        real = np.broadcast_to(real[:, None], mixed.shape)
        mixed_from_padded[mixed[real]] = rows + np.flatnonzero(real)
        real = np.broadcast_to(real, copied.shape)
        from_padded[copied[real]] = 3 * rows + np.flatnonzero(real)
        to_padded.append(copied.ravel())
        padding = np.where(real[0], 0.0, -np.inf).reshape(-1, 1, length)
        paddings.append(torch.from_numpy(padding).float().to(device))
        rows += mixed.size
    gathers = (np.concatenate(to_padded), from_padded, mixed_from_padded)
    return Buckets(paddings, *(torch.from_numpy(index).to(device) for index in gathers))


def attend_in_buckets(qkv: Tensor, buckets: Buckets, dropout_p: float) -> Tensor:
    """Computes scaled dot-product attention within each sequence (Vaswani et al., 2017, 3.2.1).

    For the query, key and value `(length, head_dim)` of one sequence and head, it and its gradient
    equal these lines; `kept` is 1 where dropout keeps a weight:

        scale = query.shape[1] ** -0.5
        weights = (scale * query @ key.T).softmax(1)
        used = weights * kept / (1 - dropout_p)
        mixed = used @ value
        grad_value = used.T @ grad_mixed
        grad_weights = grad_mixed @ value.T * kept / (1 - dropout_p)
        mean = (grad_weights * weights).sum(1, keepdim=True)
        grad_scores = weights * (grad_weights - mean)
        grad_query = scale * grad_scores @ key
        grad_key = scale * grad_scores.T @ query

    `qkv` is `(total, 3, heads, head_dim)`; returns `(total, heads, head_dim)`.
    """
    rows = qkv.reshape(-1, qkv.shape[-1])
    return _BucketAttention.apply(rows, buckets, dropout_p).view(len(qkv), *qkv.shape[2:])


class _BucketAttention(torch.autograd.Function):
    """Attention on rows of one head, `(total · 3 · heads, head_dim)` → `(total · heads, head_dim)`.

    Its gradient is written by hand, so that the results and gradients of all buckets go into one
    array each. Autograd would join them from the buckets, with one more copy in every layer.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, buckets: Buckets, dropout_p: float) -> Tensor:  # type: ignore[no-untyped-def]
        padded = rows.index_select(0, buckets.to_padded)
        mixed = padded.new_empty(len(padded) // 3, padded.shape[1])
        scale, kept_scale = padded.shape[1] ** -0.5, 1 / (1 - dropout_p)
        saved = []
        for padding, (query, key, value), out in _each(buckets, padded, mixed):
            scores = torch.baddbmm(padding.to(rows.dtype), query, key.mT, alpha=scale)
            weights = scores.softmax(-1)  # (sequences · heads, length, length)
            kept = keep_mask(weights, dropout_p) if dropout_p > 0 else None
            torch.bmm(weights if kept is None else weights * kept, value, out=out)
            saved += [weights, kept]
        ctx.save_for_backward(padded, *saved)
        ctx.buckets, ctx.scale, ctx.kept_scale = buckets, scale, kept_scale
        return mixed.index_select(0, buckets.mixed_from_padded).mul_(kept_scale)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        padded, *saved = ctx.saved_tensors
        buckets, scale = ctx.buckets, ctx.scale
        grad_padded = torch.empty_like(padded)
        grad_mixed = grad.new_zeros(len(padded) // 3, padded.shape[1])  # 0 at padding
        grad_mixed.index_copy_(0, buckets.mixed_from_padded, grad * ctx.kept_scale)
        each = zip(
            _each(buckets, padded, grad_mixed),
            _each(buckets, grad_padded, grad_mixed),
            saved[::2],
            saved[1::2],
            strict=True,
        )
        for (_, (query, key, value), grad_out), (_, grads, _), weights, kept in each:
            grad_query, grad_key, grad_value = grads
            torch.bmm((weights if kept is None else weights * kept).mT, grad_out, out=grad_value)
            grad_weights = torch.bmm(grad_out, value.mT)
            if kept is not None:
                grad_weights *= kept
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            torch.baddbmm(query, grad_scores, key, beta=0, alpha=scale, out=grad_query)
            torch.baddbmm(key, grad_scores.mT, query, beta=0, alpha=scale, out=grad_key)
        return grad_padded.index_select(0, buckets.from_padded), None, None


def _each(
    buckets: Buckets, padded: Tensor, mixed: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields each bucket's padding, and views of its rows with the 3 and of those without it."""
    end = 0
    for padding in buckets.paddings:
        start, end = end, end + padding.numel()
        shape = (-1, padding.shape[2], padded.shape[1])  # of sequences · heads, length, head_dim
        yield padding, padded[3 * start : 3 * end].view(3, *shape), mixed[start:end].view(shape)


class Ends(Protocol):
    """Where the sequences of a batch end, in the form that one kind of attention needs."""

    def attend(self, qkv: Tensor, dropout_p: float) -> Tensor:
        """Computes :func:`attend_in_buckets`, in the way of its kind."""


class Layout(NamedTuple):
    """Facts of a batch that attention needs, the same in every layer."""

    ends: Ends
    positions: Prepared


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2.2) with one joint projection.

    Queries and keys can be normalized, each head by itself, which keeps the scores from growing
    without bound (Dehghani et al., 2023, https://arxiv.org/abs/2302.05442, section 2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.head_dim = config.head_dim
        self.dropout = config.attention_probs_dropout_prob
        self.turn = POSITIONS[config.position_embedding].turn
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size, config.bias)
        self.output = nn.Linear(config.hidden_size, config.hidden_size, config.bias)
        self.query_norm = LayerNorm(config, self.head_dim) if config.qk_norm else None
        self.key_norm = LayerNorm(config, self.head_dim) if config.qk_norm else None

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Attends within each sequence: `(total, hidden)` → `(total, hidden)`."""
        qkv = self.project(x, layout.positions)
        dropout_p = self.dropout if self.training else 0.0
        mixed = layout.ends.attend(qkv, dropout_p)
        return self.output(mixed.reshape(len(x), -1))

    def project(self, x: Tensor, positions: Prepared) -> Tensor:
        """Computes queries, keys and values, `(total, 3, heads, head_dim)`."""
        qkv = self.query_key_value(x).view(len(x), 3, self.heads, self.head_dim)
        if self.query_norm is None and not positions:
            return qkv
        query, key, value = qkv.unbind(1)  # each (total, heads, head_dim)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if positions:
            query, key = self.turn(query, positions), self.turn(key, positions)
        return torch.stack([query, key, value], 1)
