"""Muon: the momentum of each matrix, made orthogonal."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration of Muon's authors: steepest at 0, and near 1 for all larger values."""
ITERATIONS = 5
EPS = 1e-7


class Muon(Optimizer):
    """Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/), as in `torch.optim`.

    With the moving average `m` of the gradient `g` of a matrix `w`, and `o` the matrix next to
    `(1 - momentum) · g + momentum · m` that is about orthogonal,

        w ← (1 - lr · weight_decay) · w - lr · √max(1, rows / columns) · o

    Matrices of one shape are made orthogonal together, by batched products: a GPU is not kept busy
    by one at a time. `found_inf`, `()` float32, is 1 where the next update must change nothing.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            self._update([weight for weight in group["params"] if weight.grad is not None], **group)
        return result

    def _update(
        self, weights: list[Tensor], lr: float, weight_decay: float, momentum: float, **_: Any
    ) -> None:
        if not weights:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        for weight in weights:
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        averages: list[Tensor] = [self.state[weight]["momentum_buffer"] for weight in weights]
        kept: float | Tensor = 1 - lr * weight_decay
        skipped = self.found_inf > 0 if self.found_inf is not None else None
        if skipped is not None:  # then the average is the gradient, and moves nowhere
            pairs = zip(averages, gradients, strict=True)
            gradients = [torch.where(skipped, average, gradient) for average, gradient in pairs]
            kept = torch.where(skipped, 1.0, kept)
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, averages, momentum)
        torch._foreach_mul_(weights, kept)
        of_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, weight in enumerate(weights):
            of_shape[tuple(weight.shape)].append(place)
        for (rows, columns), places in of_shape.items():
            together = orthogonal(torch.stack([updates[place] for place in places]))
            if skipped is not None:
                together = together.masked_fill(skipped, 0)
            for place, update in zip(places, together.unbind(), strict=True):
                weights[place].add_(update, alpha=-lr * sqrt(max(1, rows / columns)))


def orthogonal(matrices: Tensor) -> Tensor:
    """Returns about the nearest orthogonal matrix to each of `(count, rows, columns)`, in bf16.

    Newton and Schulz's iteration, on a matrix of norm 1, moves all but the smallest singular values
    to between about 0.7 and 1.2, and leaves the singular vectors as they are.
    """
    a, b, c = COEFFICIENTS
    rows, columns = matrices.shape[1:]
    x = matrices.bfloat16()
    x = x.mT if rows > columns else x
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if rows > columns else x
