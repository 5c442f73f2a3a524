"""The exponential moving average of the weights, by which a run with `optim.ema_decay` is judged.

It is a model of its own beside the one that learns, sharded in the same way, and the two are never
swapped. Lightning's `WeightAveraging` swaps them for each validation, so a checkpoint saved in one
holds them the wrong way round; it gives up the trained weights at the end of the run, from which no
longer run could resume; and it does not support sharded models.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from bert_lightning.model.bert import Bert, Model

TRAINED = "trained_weights"
"""The key of a checkpoint's trained weights; its `state_dict` has the average."""
_MODEL, _AVERAGE = "model.", "average."
"""Prefixes of the names of the weights, in the module that holds both models."""


def average_of(model: Model) -> Model:
    """Returns the average before the first step: a copy that no optimizer updates."""
    return deepcopy(model).requires_grad_(False)


def decay_at(decay: float, step: int) -> float:
    """Returns the fraction of itself that the average keeps at a step, counted from 1.

    This is the rule of TensorFlow's `ExponentialMovingAverage` with `num_updates`; a constant decay
    would leave much of the random start in a short run's average.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: Bert, model: Bert, decay: float, step: int) -> None:
    """Sets `average = d · average + (1 - d) · weights` in place after `step` optimizer steps.

    `d` is :func:`decay_at` of this step.
    """
    if isinstance(average, FSDPModule):
        average.reshard()  # a validation leaves what is outside the blocks gathered
    averages: list[Tensor] = [*average.parameters()]
    torch._foreach_lerp_(averages, [*model.parameters()], 1 - decay_at(decay, step))


def put_average_first(checkpoint: dict[str, Any]) -> None:
    """Makes the average the model of a checkpoint, for every reader of it, in place."""
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = _renamed(state, _AVERAGE, _MODEL)
    checkpoint[TRAINED] = _renamed(state, _MODEL, _MODEL)


def put_trained_first(checkpoint: dict[str, Any], averaging: bool) -> None:
    """Makes a checkpoint's weights those of the module again, in place, before they are loaded.

    If the run is `averaging` and the checkpoint has no average, the average begins as the weights.
    """
    used = checkpoint["state_dict"]
    average = _renamed(used, _MODEL, _AVERAGE) if averaging else {}
    checkpoint["state_dict"] = {**checkpoint.pop(TRAINED, used), **average}


def _renamed(state: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    return {
        after + name.removeprefix(before): value
        for name, value in state.items()
        if name.startswith(before)
    }
