"""Attention with dropout on sequences of up to 128 tokens, one tile a sequence and head.

`model.attention.attend_in_buckets` defines it. All scores of a tile fit into the registers of one
block of threads. So the softmax needs no second look at the keys, the backward pass computes the
scores again instead of reading them, and no two blocks write the same gradient. Queries, keys and
values are read from where the joint projection wrote them, without copies, and so are gradients.

Each size of tile is a launch of its own: a tile of 128 has sixteen times the scores of one of 32,
and so many registers that one or two fit on a processor.
"""
# ruff: noqa: N803, ARG001 -- Triton's constants are in capitals; fakes take what they stand for
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from bert_lightning.batch import Sequences

TILES = (128, 64, 32)
"""The sizes of tiles: a sequence is in the smallest that holds it."""
_WARPS = {128: 8, 64: 4, 32: 1}
"""By the size of a tile, the groups of 32 threads that share it: enough that its scores and
gradients stay in registers."""
HEAD_SIZES = (16, 32, 64, 128)
"""The sizes of heads that tiles can have."""


class Tiles(NamedTuple):
    """Short sequences, by the tile that holds them; nothing here makes the host wait for a GPU."""

    cu_seqlens: Tensor
    """`(sequences + 1,)` int64."""
    order: Tensor
    """`(sequences,)` int64: the longest first."""
    ends: Tensor
    """`(3,)` int64, in host memory: where in `order` those of each tile end. It is a tensor so that
    compiled code takes any numbers."""

    @classmethod
    def of(cls, sequences: Sequences) -> "Tiles":
        """Sorts sequences of 3, 100, 40 and 2 tokens: one in a tile of 128, one of 64, two of 32.

        >>> import numpy as np
        >>> from bert_lightning.batch import pack_sequences
        >>> lengths, zeros = np.array([3, 100, 40, 2]), np.zeros(145, np.int64)
        >>> tiles = Tiles.of(pack_sequences(zeros, zeros, lengths))
        >>> tiles.order.tolist(), tiles.ends.tolist()
        ([1, 2, 0, 3], [1, 2, 4])
        """
        order = sequences.cu_seqlens.diff().argsort(descending=True)
        longer = [int((sequences.lengths > size).sum()) for size in (*TILES[1:], 0)]
        return cls(sequences.cu_seqlens, order, torch.tensor(longer))

    def attend(self, qkv: Tensor, dropout_p: float) -> Tensor:
        """Computes `attend_in_buckets`; the mask follows from a number of torch's generator."""
        high = torch.iinfo(torch.int64).max
        seed = torch.randint(high, (1,), device=qkv.device) if dropout_p > 0 else None
        return attend_in_tiles(qkv, *self, seed, dropout_p)


@triton.jit
def _rows(cu_seqlens, order, first, HEADS: tl.constexpr, SIZE: tl.constexpr, TILE: tl.constexpr):
    """Returns the sequence and head of a block, its length, and the places of a tile's values.

    They are `(TILE, SIZE)`: the places of its queries in `qkv`, and of its results in `mixed`.
    """
    sequence = tl.load(order + first + tl.program_id(0) // HEADS).to(tl.int32)
    head = tl.program_id(0) % HEADS
    start = tl.load(cu_seqlens + sequence)  # int64, as are the places in large batches
    length = (tl.load(cu_seqlens + sequence + 1) - start).to(tl.int32)
    row, column = tl.arange(0, TILE)[:, None], tl.arange(0, SIZE)[None, :]
    in_qkv = start * (3 * HEADS * SIZE) + head * SIZE + row * (3 * HEADS * SIZE) + column
    in_mixed = start * (HEADS * SIZE) + head * SIZE + row * (HEADS * SIZE) + column
    return sequence, head, length, in_qkv, in_mixed


@triton.jit
def _softmax(query, key, length, SIZE: tl.constexpr, TILE: tl.constexpr):
    """Returns `exp(scores - highest)` `(TILE, TILE)`, 0 at padding, and its sums over the keys."""
    log2_e: tl.constexpr = 1.4426950408889634
    scores = tl.dot(query, tl.trans(key)) * (SIZE**-0.5 * log2_e)
    scores = tl.where(tl.arange(0, TILE)[None, :] < length, scores, -float("inf"))
    weights = tl.exp2(scores - tl.max(scores, 1)[:, None])
    return weights, tl.sum(weights, 1)


@triton.jit
def _drop(weights, seed, sequence, head, DROPOUT_P: tl.constexpr, TILE: tl.constexpr):
    """Returns the weights `(TILE, TILE)`, 0 where dropout drops one.

    The bits are those of Philox4x32 (Salmon et al., 2011, https://doi.org/10.1145/2063384.2063405)
    in seven rounds, the fewest that passed the authors' tests. It makes four words at a time, one
    for each quarter of the columns: so a thread makes those of its own scores.
    """
    if DROPOUT_P > 0:
        quarter: tl.constexpr = TILE // 4
        place = tl.arange(0, TILE)[:, None] * quarter + tl.arange(0, quarter)[None, :]
        a, b, c, d = tl.philox(tl.load(seed), place, head, sequence, 0, n_rounds=7)
        words = tl.permute(tl.join(tl.join(a, c), tl.join(b, d)), (0, 2, 3, 1))
        words = tl.reshape(words, (TILE, TILE)).to(tl.int32, bitcast=True)
        least: tl.constexpr = int(DROPOUT_P * 2**32) - 2**31
        weights = tl.where(words >= least, weights, 0.0)
    return weights


@triton.jit(do_not_specialize=["first"])
def _forward(
    qkv,
    mixed,
    cu_seqlens,
    order,
    first,
    seed,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    DROPOUT_P: tl.constexpr,
    TILE: tl.constexpr,
):
    sequence, head, length, in_qkv, in_mixed = _rows(cu_seqlens, order, first, HEADS, SIZE, TILE)
    real = tl.arange(0, TILE)[:, None] < length
    query = tl.load(qkv + in_qkv, real, 0.0)
    key = tl.load(qkv + in_qkv + HEADS * SIZE, real, 0.0)
    value = tl.load(qkv + in_qkv + 2 * HEADS * SIZE, real, 0.0)
    weights, sums = _softmax(query, key, length, SIZE, TILE)
    used = _drop(weights, seed, sequence, head, DROPOUT_P, TILE).to(value.dtype)
    result = tl.dot(used, value) / (sums * (1 - DROPOUT_P))[:, None]
    tl.store(mixed + in_mixed, result.to(value.dtype), real)


@triton.jit(do_not_specialize=["first"])
def _backward(
    qkv,
    grad_mixed,
    grad_qkv,
    cu_seqlens,
    order,
    first,
    seed,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    DROPOUT_P: tl.constexpr,
    TILE: tl.constexpr,
):
    sequence, head, length, in_qkv, in_mixed = _rows(cu_seqlens, order, first, HEADS, SIZE, TILE)
    real = tl.arange(0, TILE)[:, None] < length
    query = tl.load(qkv + in_qkv, real, 0.0)
    key = tl.load(qkv + in_qkv + HEADS * SIZE, real, 0.0)
    grad = tl.load(grad_mixed + in_mixed, real, 0.0)
    weights, sums = _softmax(query, key, length, SIZE, TILE)
    weights = weights / sums[:, None]
    used = _drop(weights, seed, sequence, head, DROPOUT_P, TILE)
    kept_scale: tl.constexpr = 1 / (1 - DROPOUT_P)
    grad_value = tl.dot(tl.trans(used.to(grad.dtype)), grad) * kept_scale
    tl.store(grad_qkv + in_qkv + 2 * HEADS * SIZE, grad_value.to(grad.dtype), real)
    value = tl.load(qkv + in_qkv + 2 * HEADS * SIZE, real, 0.0)
    products = tl.dot(grad, tl.trans(value)) * used  # weights · grad_weights / kept_scale
    grad_scores = (products - weights * tl.sum(products, 1)[:, None]).to(grad.dtype)
    scale: tl.constexpr = SIZE**-0.5 * kept_scale
    grad_query = tl.dot(grad_scores, key) * scale
    tl.store(grad_qkv + in_qkv, grad_query.to(grad.dtype), real)
    grad_key = tl.dot(tl.trans(grad_scores), query) * scale
    tl.store(grad_qkv + in_qkv + HEADS * SIZE, grad_key.to(grad.dtype), real)


@torch.library.custom_op("bert_lightning::attend_in_tiles", mutates_args=())
def attend_in_tiles(
    qkv: Tensor,
    cu_seqlens: Tensor,
    order: Tensor,
    ends: Tensor,
    seed: Tensor | None,
    dropout_p: float,
) -> Tensor:
    """Computes `attend_in_buckets` on sequences of up to 128 tokens.

    Args:
        qkv: `(total, 3, heads, head_dim)`, contiguous. Each token belongs to a sequence, and
            `head_dim` is one of `HEAD_SIZES`.
        cu_seqlens: this and the next two are the fields of `Tiles`.
        order: see there.
        ends: see there.
        seed: `(1,)` int64: the mask follows from it, the sequence's place and the head.
        dropout_p: the probability with which an attention weight is dropped; without a seed, 0.

    Returns:
        `(total, heads, head_dim)`.
    """
    assert qkv.is_contiguous(), qkv.stride()
    mixed = qkv.new_empty(len(qkv), *qkv.shape[2:])
    for launch, first, fixed in _launches(_forward, qkv, ends, dropout_p):
        launch(qkv, mixed, cu_seqlens, order, first, seed, **fixed)
    return mixed


@torch.library.custom_op("bert_lightning::attend_in_tiles_backward", mutates_args=())
def _grad_qkv(
    grad_mixed: Tensor,
    qkv: Tensor,
    cu_seqlens: Tensor,
    order: Tensor,
    ends: Tensor,
    seed: Tensor | None,
    dropout_p: float,
) -> Tensor:
    """Returns the gradient of the queries, keys and values, in one array like `qkv`."""
    grad_qkv, grad_mixed = torch.empty_like(qkv), grad_mixed.contiguous()
    for launch, first, fixed in _launches(_backward, qkv, ends, dropout_p):
        launch(qkv, grad_mixed, grad_qkv, cu_seqlens, order, first, seed, **fixed)
    return grad_qkv


def _launches(
    kernel: Any, qkv: Tensor, ends: Tensor, dropout_p: float
) -> Iterator[tuple[Any, int, dict[str, Any]]]:
    """Yields for each size of tile its launch, its first sequence in `order`, and its constants."""
    heads, size = qkv.shape[2:]
    first = 0
    with torch.cuda.device_of(qkv):  # Triton launches on the current device
        for tile, end in zip(TILES, ends.tolist(), strict=True):
            if first < end:
                fixed = {"HEADS": heads, "SIZE": size, "DROPOUT_P": dropout_p, "TILE": tile}
                launch = kernel[((end - first) * heads,)]
                yield launch, first, {**fixed, "num_warps": _WARPS[tile]}
            first = end


@attend_in_tiles.register_fake
def _(qkv, cu_seqlens, order, ends, seed, dropout_p):
    return qkv.new_empty(qkv.shape[0], *qkv.shape[2:])


@_grad_qkv.register_fake
def _(grad_mixed, qkv, cu_seqlens, order, ends, seed, dropout_p):
    return torch.empty_like(qkv)


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.dropout_p = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, grad):
    return _grad_qkv(grad, *ctx.saved_tensors, ctx.dropout_p), None, None, None, None, None


attend_in_tiles.register_autograd(_differentiate, setup_context=_save)
