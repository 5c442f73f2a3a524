"""Dropout whose random bits are drawn in bulk where the stock one draws them one by one."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

_LEVELS = 1 << 16


def dropout(x: Tensor, p: float) -> Tensor:
    """Zeroes each value with probability `p` and scales the others by `1 / (1 - p)`.

    On CPU `F.dropout` draws one number a value on one thread, which takes longer than the matrix
    products around it; here a 64-bit word serves four values, so `p` is rounded to 1/65536. What is
    dropped follows from torch's global generator, as in `F.dropout`.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, p)
    dropped_levels = round(p * _LEVELS)
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(
        0, 2**64, (x.numel() + 3) // 4, dtype=np.uint64
    )
    bits = torch.from_numpy(words.view(np.int16))[: x.numel()].view(x.shape)
    # Comparisons into bool, and products with it, are not vectorised; into x's own type they are.
    kept = torch.ge(bits, dropped_levels - _LEVELS // 2, out=torch.empty_like(bits, dtype=x.dtype))
    return x * kept * (_LEVELS / (_LEVELS - dropped_levels))


class Dropout(nn.Module):
    """:func:`dropout` while training, nothing otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training and self.p > 0 else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
