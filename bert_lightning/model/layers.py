"""The small layers that all parts share: activation, normalization and dropout."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bert_lightning.config import HiddenAct

_LEVELS = 1 << 16


def activation(name: HiddenAct) -> nn.Module:
    """Returns the activation of that name."""
    return nn.GELU() if name is HiddenAct.gelu else nn.ReLU()


class LayerNorm(nn.LayerNorm):
    """LayerNorm (Ba et al., 2016, https://arxiv.org/abs/1607.06450) that keeps its input's type.

    Its sums are fp32 whatever that type is. Autocast would return fp32 on CUDA, and with it twice
    the memory traffic in every layer that follows.
    """

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), bias, self.eps)


def keep_mask(x: Tensor, p: float) -> Tensor:
    """Returns 1 for each value of `x` that is kept and 0, with probability `p`, for the others.

    On CPU a 64-bit word serves four values, so `p` is rounded to 1/65536. The mask follows from
    torch's global generator.
    """
    if x.device.type != "cpu":
        return torch.empty_like(x).bernoulli_(1 - p)
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(
        0, 2**64, (x.numel() + 3) // 4, dtype=np.uint64
    )
    bits = torch.from_numpy(words.view(np.int16))[: x.numel()].view(x.shape)
    # torch vectorizes neither a comparison into bool nor a product with it: hence x's own type.
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
    """:func:`dropout` in training, nothing otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training and self.p > 0 else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
