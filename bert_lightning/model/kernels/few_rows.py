"""Embeddings of few rows, whose gradient on GPUs is a product."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class _FewRows(torch.autograd.Function):
    """An embedding whose gradient is a product with the one-hot ids."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = len(weight)
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (ids,) = ctx.saved_tensors
        chosen = ids == torch.arange(ctx.rows, device=ids.device)[:, None]
        with torch.autocast(grad.device.type, enabled=False):
            return None, chosen.to(grad.dtype) @ grad


def few_rows(ids: Tensor, weight: Tensor) -> Tensor:
    """Looks up the ids of tokens, `(total,)`, in a table of few rows, `(rows, width)`.

    On CUDA the gradient of an embedding sorts all ids, or, compiled, has every token wait for its
    turn to add to one of the few rows, in an order that changes. A product does neither.
    """
    if ids.device.type != "cuda":
        return F.embedding(ids, weight)
    return _FewRows.apply(ids, weight)
