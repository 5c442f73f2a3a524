"""Dropout whose random bits are drawn in bulk where the stock one draws them one by one."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

_LEVELS = 1 << 16


def keep_mask(x: Tensor, p: float) -> Tensor:
    """1 where a value of `x` is kept and 0, with probability `p`, where it is dropped.

    On CPU a 64-bit word serves four values, so `p` is rounded to 1/65536. What is dropped follows
    from torch's global generator.
    """
    if x.device.type != "cpu":
        return torch.empty_like(x).bernoulli_(1 - p)
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(
        0, 2**64, (x.numel() + 3) // 4, dtype=np.uint64
    )
    bits = torch.from_numpy(words.view(np.int16))[: x.numel()].view(x.shape)
    # A comparison into bool, and a product with it, is not vectorised; into x's own type it is.
    kept = torch.empty(x.shape, dtype=x.dtype)
    return torch.ge(bits, round(p * _LEVELS) - _LEVELS // 2, out=kept)


def dropout(x: Tensor, p: float) -> Tensor:
    """Zeroes each value with probability `p` and scales the others by `1 / (1 - p)`.

    On CPU `F.dropout` draws one number a value on one thread, which takes longer than the matrix
    products around it; see :func:`keep_mask`.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, p)
    return x * keep_mask(x, p) * (1 / (1 - p))


class Dropout(nn.Module):
    """:func:`dropout` while training, nothing otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training and self.p > 0 else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
