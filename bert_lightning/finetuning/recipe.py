"""What options that are null stand for: the epochs, the learning rate and the warmup of a run.

`benchmarks/finetuned/*/rates.json` compares them with others.
"""

import math
from dataclasses import replace

from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.errors import UserError

_BASE_WIDTH = 768
_BASE_LR, _LR_POWER = 5e-5, 5 / 3
"""The learning rate of BERT-Base, and how it grows for narrower models: to 1e-3 for tiny."""
_BASE_EPOCHS, _EPOCHS_POWER = 5, 1 / 2
"""The epochs of BERT-Base, and how they grow for narrower models: to 12 for tiny."""
_WARMUP = 0.1
"""Fraction of the run."""


def with_recipe(config: FinetuneConfig, width: int, examples: int) -> tuple[FinetuneConfig, int]:
    """Returns the config without such nulls, and the optimizer steps of the run.

    `width` is the hidden size of the model, and `examples` the number that it learns from.
    """
    optim, trainer = config.optim, config.trainer
    narrower = _BASE_WIDTH / width
    if optim.lr is None:
        optim = replace(optim, lr=float(f"{_BASE_LR * narrower**_LR_POWER:.1g}"))
    if trainer.max_epochs is None and config.most_steps is None:
        epochs = max(1, round(_BASE_EPOCHS * narrower**_EPOCHS_POWER))
        trainer = replace(trainer, max_epochs=float(epochs))
    steps = _steps(replace(config, trainer=trainer), examples)
    warmup = round(_WARMUP * steps) if optim.warmup_steps is None else optim.warmup_steps
    if warmup > steps:
        raise UserError(
            f"optim.warmup_steps={warmup} is longer than the run of {steps} steps: "
            "warm up for fewer steps"
        )
    optim = replace(optim, warmup_steps=warmup)
    return replace(config, optim=optim, trainer=trainer), steps


def _steps(config: FinetuneConfig, examples: int) -> int:
    limits = [] if config.most_steps is None else [config.most_steps]
    if config.trainer.max_epochs is not None:
        seen = config.trainer.max_epochs * examples
        limits.append(math.ceil(seen / config.batch.global_batch_size))
    return min(limits)
