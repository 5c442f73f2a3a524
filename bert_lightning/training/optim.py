"""Parameter groups, optimisers and schedules."""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bert_lightning.config import OptimConfig, OptimizerName, ScheduleName


def build_optimizer(model: nn.Module, config: OptimConfig, fused: bool = True) -> Optimizer:
    """The optimiser, with decay on the matrices and none on biases, norms and small embeddings.

    `fused` updates all parameters in one pass, but unscales 16-mixed's gradients only then: too
    late to clip them.
    """
    betas = (config.beta1, config.beta2)
    if config.optimizer is OptimizerName.adam:
        return Adam(model.parameters(), lr=config.lr, betas=betas, eps=config.eps, fused=fused)
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        decays = parameter.ndim >= 2 and not name.endswith(("position.weight", "token_type.weight"))
        (decayed if decays else kept).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=fused)


def build_schedule(optimizer: Optimizer, config: OptimConfig, steps: int) -> LambdaLR:
    """The learning rate's course over `steps` optimiser steps, as a share of its peak."""
    return LambdaLR(optimizer, schedule(config, steps))


def schedule(config: OptimConfig, steps: int) -> Callable[[int], float]:
    """Maps a step, from 0, to the share of the peak rate that it runs at."""

    def share(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
        match config.schedule:
            case ScheduleName.constant:
                return 1.0
            case ScheduleName.linear:
                return max(0.0, 1.0 - progress)
            case ScheduleName.cosine:
                return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

    return share
