"""The learning rate of each step, as a fraction of its peak."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from bert_lightning.config import OptimConfig, ScheduleName
from bert_lightning.optim.time_budget import Budget


def schedule(
    config: OptimConfig, steps: int, budget: Budget | None = None
) -> Callable[[int], float]:
    """Returns the function from a step, counted from 0, to its fraction of the peak rate.

    A time `budget` takes the place of `steps`.
    """

    def fraction(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if budget is not None:
            return budget.fraction_of_peak(step)
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

    return fraction


def follow_config(schedule: LambdaLR, options: list[dict[str, Any]], step: int) -> None:
    """Sets a restored schedule to the config, which may have changed, after `step` steps.

    `options` are those of each parameter group, as they were built from the config.
    """
    groups = schedule.optimizer.param_groups
    for group, built, fraction in zip(groups, options, schedule.lr_lambdas, strict=True):
        group.update(built)
        group["lr"] = built["initial_lr"] * fraction(step)
    schedule.base_lrs = [built["initial_lr"] for built in options]
    schedule.last_epoch = step
