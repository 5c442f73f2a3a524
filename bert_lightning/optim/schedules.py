"""The learning rate of each step, as a fraction of its peak."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bert_lightning.config import OptimConfig, ScheduleName
from bert_lightning.optim.time_budget import Budget


def build_schedule(
    optimizer: Optimizer, config: OptimConfig, steps: int, budget: Budget | None = None
) -> LambdaLR:
    """The learning rate's course over `steps` optimiser steps, as a share of its peak."""
    return LambdaLR(optimizer, schedule(config, steps, budget))


def schedule(
    config: OptimConfig, steps: int, budget: Budget | None = None
) -> Callable[[int], float]:
    """Maps a step, from 0, to the share of the peak rate that it runs at.

    With a `budget` that is what says how far the run has come.
    """

    def share(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if budget is not None:
            return budget.share(step)
        progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
        match config.schedule:
            case ScheduleName.constant:
                return 1.0
            case ScheduleName.linear:
                return max(0.0, 1.0 - progress)
            case ScheduleName.cosine:
                return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
            case ScheduleName.wsd:
                decay = max(1, round(config.decay_fraction * steps))
                return min(1.0, max(0.0, (steps - step) / decay))

    return share


def follow_config(schedule: LambdaLR, options: list[dict[str, Any]], step: int) -> None:
    """Sets all that a checkpoint has restored of rates to the config's, which may have changed.

    Args:
        schedule: the restored one.
        options: those of each parameter group, as they were built from the config.
        step: optimiser steps done.
    """
    groups = schedule.optimizer.param_groups
    for group, built, share in zip(groups, options, schedule.lr_lambdas, strict=True):
        group.update(built)
        group["lr"] = built["initial_lr"] * share(step)
    schedule.base_lrs = [built["initial_lr"] for built in options]
    schedule.last_epoch = step
