"""How far a run has come, in plain types: what a checkpoint holds beside weights and optimiser.

Lightning's own account of its loops depends on which hook a checkpoint was saved in, and on the
number of micro-batches. Here a checkpoint always lies between two optimiser steps, and the loops
are set from the step's number alone.
"""

from typing import Any

import lightning as L  # noqa: N812
import torch
from torch import Tensor

Curves = dict[str, list[tuple[int, float]]]
"""Logged values by name, as (step, value)."""


def pack_curves(curves: Curves) -> dict[str, tuple[Tensor, Tensor]]:
    """Curves as tensors, which load in no time however long they are."""
    return {
        name: (
            torch.tensor([step for step, _ in values]),
            torch.tensor([value for _, value in values], dtype=torch.float64),
        )
        for name, values in curves.items()
    }


def unpack_curves(packed: dict[str, tuple[Tensor, Tensor]]) -> Curves:
    return {
        name: list(zip(steps.tolist(), values.tolist(), strict=True))
        for name, (steps, values) in packed.items()
    }


def loops_at(trainer: L.Trainer, step: int, validation_due: bool) -> dict[str, Any]:
    """The state of Lightning's loops after `step` optimiser steps, for `loops` of a checkpoint.

    Args:
        trainer: a new one, whose loops have not begun.
        step: optimiser steps done.
        validation_due: whether the validation after that step is still to come.
    """
    state = trainer.fit_loop.state_dict()
    batches = step * trainer.accumulate_grad_batches
    _set(state["epoch_progress"], ready=1, started=1)
    _set(
        state["epoch_loop.batch_progress"],
        ready=batches,
        started=batches,
        processed=batches,
        completed=batches,
    )
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    _set(optimizer["step"], ready=step, completed=step)
    _set(state["epoch_loop.scheduler_progress"], ready=step, completed=step)
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = step
    if (
        validation_due
    ):  # as if it had been interrupted in its first batch: Lightning starts it again
        _set(state["epoch_loop.val_loop.batch_progress"], ready=1, started=1)
    return {"fit_loop": state}


def _set(progress: dict[str, Any], **counts: int) -> None:
    for part in ("total", "current"):
        progress[part].update(counts)
