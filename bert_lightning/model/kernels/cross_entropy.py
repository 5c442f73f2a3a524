"""The cross-entropy of logits and its gradient in one Triton kernel.

`linear_cross_entropy.cross_entropy` defines both. PyTorch runs that as a dozen passes over all
logits. The kernel reads a row from memory once, and writes the gradient where the logits were.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_MOST_NATS = -math.log(torch.finfo(torch.float32).tiny)
_BLOCK = 8192
"""Words of a row that are read at a time."""


@triton.jit  # type: ignore[untyped-decorator]
def _cross_entropy(logits, labels, nll, correct, words, most, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """Scores one row. It is read twice: the second time it is in the GPU's cache."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * words
    label = tl.load(labels + row)
    right = tl.load(logits + label).to(tl.float32)
    highest, total, equal = float("-inf"), 0.0, 0
    for start in range(0, words, BLOCK):
        word = start + tl.arange(0, BLOCK)
        x = tl.load(logits + word, mask=word < words, other=float("-inf")).to(tl.float32)
        before = highest
        highest = tl.maximum(before, tl.max(x, 0))
        total = total * tl.exp(before - highest) + tl.sum(tl.exp(x - highest), 0)
        equal = tl.where(before == highest, equal, 0) + tl.sum((x == highest).to(tl.int32), 0)
    lost = highest - right + tl.log(total)
    tl.store(nll + row, tl.where(lost > most, most, lost))  # NaN stays NaN
    tl.store(correct + row, tl.where(right == highest, 1.0 / equal, 0.0))
    for start in range(0, words, BLOCK):
        word = start + tl.arange(0, BLOCK)
        x = tl.load(logits + word, mask=word < words, other=float("-inf")).to(tl.float32)
        gradient = tl.exp(x - highest) / total - (word == label).to(tl.float32)
        tl.store(logits + word, gradient.to(logits.dtype.element_ty), mask=word < words)


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Computes `linear_cross_entropy.cross_entropy`; the gradient takes the memory of the logits.

    `logits` is `(rows, words)`, contiguous and in at most 32 bits; all sums are in fp32.
    """
    rows, words = logits.shape
    nll, correct = torch.empty(2, rows, device=logits.device)
    block = min(_BLOCK, triton.next_power_of_2(words))
    _cross_entropy[(rows,)](logits, labels, nll, correct, words, _MOST_NATS, block, num_warps=8)
    return nll.sum(), correct.sum(), logits
