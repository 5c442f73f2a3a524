"""LAMB: Adam's update, as long as a fraction of the matrix that it changes."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """LAMB (You et al., 2020, https://arxiv.org/abs/1904.00962, Algorithm 2), for large batches.

    With Adam's two moments `m` and `v` of the gradient, bias corrected as there, a parameter `w`
    moves by `lr · ‖w‖ / ‖u‖ · u` against `u = m / (√v + eps) + weight_decay · w`: by the fraction
    `lr` of its own length, so no layer sets the pace for the others. The ratio is 1 where either
    norm is 0, and for all parameters of a group with `adapted=False`: biases and norms, as in its
    authors' code (https://github.com/google-research/albert/blob/master/lamb_optimizer.py), which
    does not correct the bias.

    Attention's query, key and value are one matrix here, and so have one ratio.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "adapted": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            updates = self._adam(weights, group["betas"], group["eps"])
            if group["weight_decay"]:
                torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
            if group["adapted"]:
                torch._foreach_mul_(updates, _ratios(weights, updates))
            torch._foreach_add_(weights, updates, alpha=-group["lr"])
        return result

    def _adam(self, weights: list[Tensor], betas: tuple[float, float], eps: float) -> list[Tensor]:
        """Updates the moments, and returns Adam's update `m / (√v + eps)` of each weight."""
        states = [self.state[weight] for weight in weights]
        for weight, state in zip(weights, states, strict=True):
            if not state:
                state["step"] = torch.zeros(())  # a tensor, as in torch's own
                state["exp_avg"] = torch.zeros_like(weight)
                state["exp_avg_sq"] = torch.zeros_like(weight)
            state["step"] += 1
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        means: list[Tensor] = [state["exp_avg"] for state in states]
        squares: list[Tensor] = [state["exp_avg_sq"] for state in states]
        torch._foreach_lerp_(means, gradients, 1 - betas[0])
        torch._foreach_mul_(squares, betas[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - betas[1])
        steps = [int(state["step"]) for state in states]
        scales = torch._foreach_sqrt(squares)
        torch._foreach_div_(scales, [math.sqrt(1 - betas[1] ** step) for step in steps])
        torch._foreach_add_(scales, eps)
        torch._foreach_mul_(scales, [1 - betas[0] ** step for step in steps])
        return list(torch._foreach_div(means, scales))


def _ratios(weights: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
    """Returns the norm of each weight divided by its update's; 1 where either is 0."""
    # One array of all: fewer kernels, and with fsdp the norms over all devices in one exchange.
    of_weights = torch.stack(torch._foreach_norm(weights))
    of_updates = torch.stack(torch._foreach_norm(updates))
    both = (of_weights > 0) & (of_updates > 0)
    return list(torch.where(both, of_weights / of_updates, 1.0).unbind())
