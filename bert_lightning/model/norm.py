"""Layer normalisation that leaves activations in the precision they come in."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """LayerNorm (Ba et al., 2016, https://arxiv.org/abs/1607.06450), in its input's type.

    Its sums are fp32 whatever that type is. Autocast would return fp32 on CUDA, and with it twice
    the memory traffic in every layer that follows.
    """

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), bias, self.eps)
