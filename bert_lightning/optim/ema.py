"""The exponential moving average of the weights, by which a run with `optim.ema_decay` is judged.

It is a model of its own beside the one that learns, and nothing is ever swapped: whatever ends a
validation, neither has the other's weights, and both are divided among devices in the same way.
Lightning's `WeightAveraging` exchanges the two for each validation, so that a save from within one
would store them the wrong way round; it gives the trained weights up at the end of the run, from
which no longer one could go on; and it does not go with a divided model.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from bert_lightning.model.bert import BertForPreTraining

TRAINED = "trained_weights"
"""Where a checkpoint keeps the weights that training goes on with; `state_dict` has the average."""
_MODEL, _AVERAGE = "model.", "average."
"""What the names of the weights begin with, in the module that holds both models."""


def average_of(model: BertForPreTraining) -> BertForPreTraining:
    """The average before the first step: a copy that no optimiser updates."""
    average = deepcopy(model).requires_grad_(False)
    if model.config.compile:
        average.compile_blocks()  # a copy is not compiled
    return average


def decay_at(decay: float, step: int) -> float:
    """The share of itself that the average keeps at a step, counted from 1.

    `min(decay, (1 + step) / (10 + step))`, as TensorFlow's `ExponentialMovingAverage` has it with
    `num_updates`: else a short run's average would still be made of its random start.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: BertForPreTraining, model: BertForPreTraining, decay: float, step: int) -> None:
    """Moves the average towards the weights: `average = d · average + (1 - d) · weights`.

    Args:
        average: changed in place.
        model: as it is after this step.
        decay: `d`, once the run is long enough for it; see :func:`decay_at`.
        step: optimiser steps done.
    """
    if isinstance(average, FSDPModule):
        average.reshard()  # a validation leaves what is outside the blocks gathered
    averages: list[Tensor] = [*average.parameters()]
    torch._foreach_lerp_(averages, [*model.parameters()], 1 - decay_at(decay, step))


def put_average_first(checkpoint: dict[str, Any]) -> None:
    """Makes the average the model of a checkpoint, for all that reads one, in place."""
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = _renamed(state, _AVERAGE, _MODEL)
    checkpoint[TRAINED] = _renamed(state, _MODEL, _MODEL)


def put_trained_first(checkpoint: dict[str, Any], averaging: bool) -> None:
    """Makes a checkpoint's weights those of the module again, in place, before they are loaded.

    Args:
        checkpoint: with an average or without.
        averaging: whether the run that goes on keeps an average; where the checkpoint has none, it
            begins with the weights.
    """
    used = checkpoint["state_dict"]
    trained = checkpoint.pop(TRAINED, used)
    average = _renamed(used, _MODEL, _AVERAGE) if averaging else {}
    checkpoint["state_dict"] = {**trained, **average}


def _renamed(state: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    return {
        after + name.removeprefix(before): value
        for name, value in state.items()
        if name.startswith(before)
    }
