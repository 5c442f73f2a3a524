"""The small layers that all parts share: activation, normalization and dropout."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bert_lightning.config import HiddenAct, ModelConfig
from bert_lightning.model.kernels import cpu

_LEVELS = 1 << 16


def activation(name: HiddenAct) -> nn.Module:
    """Returns the activation of that name."""
    return nn.GELU() if name is HiddenAct.gelu else nn.ReLU()


class LayerNorm(nn.LayerNorm):
    """LayerNorm (Ba et al., 2016, https://arxiv.org/abs/1607.06450) that keeps its input's type.

    Its sums are fp32 whatever that type is. Autocast would return fp32 on CUDA, and with it twice
    the memory traffic in every layer that follows. `size` defaults to the hidden size.
    """

    def __init__(self, config: ModelConfig, size: int | None = None) -> None:
        super().__init__(size or config.hidden_size, config.layer_norm_eps, bias=config.bias)

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
    # torch vectorizes neither a comparison into bool nor a product with it: hence x's own type.
    kept = torch.empty(x.shape, dtype=x.dtype)
    return torch.ge(_bits(x), _lowest(p), out=kept)


def _bits(x: Tensor) -> Tensor:
    """Draws 16 bits for each value of `x`, in its shape."""
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(
        0, 2**64, (x.numel() + 3) // 4, dtype=np.uint64
    )
    return torch.from_numpy(words.view(np.int16))[: x.numel()].view(x.shape)


def _lowest(p: float) -> int:
    """Returns the lowest bits that are kept."""
    return round(p * _LEVELS) - _LEVELS // 2


class Dropout(nn.Dropout):
    """Dropout by :func:`keep_mask` on CPU, where torch's takes longer than the matrix products."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        return x * keep_mask(x, self.p) * (1 / (1 - self.p))


def add_norm(x: Tensor, more: Tensor, dropout: nn.Dropout, norm: LayerNorm) -> Tensor:
    """Computes `norm(x + dropout(more))`; in bf16 on CPU by one function of `kernels.cpu`."""
    if torch.compiler.is_compiling() or not cpu.fits(x) or norm.weight.dtype is not torch.float32:
        return norm(x + dropout(more))
    p = dropout.p if dropout.training else 0.0
    drawn = cpu.Drawn(_bits(more) if p else None, _lowest(p), 1 / (1 - p))
    return cpu.add_norm(x, more, drawn, norm.weight, norm.bias, norm.eps)
