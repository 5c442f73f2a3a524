"""How far a run has come, and how that stands in a checkpoint: plain types and tensors only.

The state of Lightning's loops depends on the hook that saves it and on the accumulation. Here a
checkpoint lies between two optimizer steps, and the loops are set from the step's number alone.
"""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L  # noqa: N812
from torch import Tensor

from bert_lightning.errors import UserError
from bert_lightning.optim.time_budget import Budget
from bert_lightning.runs.curves import Curves, pack_curves, unpack_curves

_log = logging.getLogger(__name__)


class Clock:
    """Counts seconds while it runs."""

    def __init__(self, elapsed: float = 0.0) -> None:
        self._before = elapsed
        self._since: float | None = None

    @property
    def elapsed(self) -> float:
        return self._before + (0.0 if self._since is None else time.perf_counter() - self._since)

    def run(self) -> None:
        self._before, self._since = self.elapsed, time.perf_counter()

    def halt(self) -> None:
        self._before, self._since = self.elapsed, None


@dataclass
class Progress:
    """A run between two optimizer steps, apart from its weights and its optimizer."""

    steps: int
    """Optimizer steps of the whole run."""
    train_sums: Tensor
    """`(sums,)`: the scores that this rank has added up since the last log."""
    budget: Budget | None = None
    """Decides on `steps`, where the run has a time budget."""
    curves: Curves = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    """Training time, validation excluded."""
    seconds: float = 0.0
    """Of training, up to the last log, as are `pairs` and `tokens`."""
    pairs: int = 0
    tokens: int = 0
    matrix_tflops: float | None = None
    """The TFLOP/s of matrix products on this device, measured as the training starts."""
    resumed_at: int = 0
    """The step of the checkpoint that the run was resumed from; 0 for a new run."""
    judged_by: str = "val/loss"
    """The curve whose lowest value marks the best checkpoint."""
    validation_due: bool = False
    """Whether the validation after this step is still to come."""
    finished: bool = False
    """Whether the run ends at this step."""
    early_end: str = ""
    """Why the run ended before its last step; empty where it did not."""
    out_of_time: bool = False
    """Whether it ended by `trainer.max_time`, and resumes with as much time again."""

    def count(self, pairs: int, tokens: int) -> float:
        """Adds what was seen since the last log; returns the seconds that it took."""
        seconds = self.clock.elapsed - self.seconds
        self.pairs, self.tokens = self.pairs + pairs, self.tokens + tokens
        self.seconds += seconds
        return seconds

    def val_loss(self, step: int) -> float | None:
        """Returns what `judged_by` was after a step, if there was a validation and it is finite."""
        at, loss = self.curves.get(self.judged_by, [(-1, 0.0)])[-1]
        return loss if at == step and math.isfinite(loss) else None

    def settle_budget(self, trainer: L.Trainer, elapsed: float) -> None:
        """Turns the rest of a time budget into steps, once its decay is due on the common clock."""
        if self.budget is not None:
            before = self.budget.end
            self.budget.settle(trainer.global_step, elapsed)
            if before is not None and self.budget.end != before:
                _log.info(
                    "steps became slower: the run ends at step %s, not %s, for its time budget",
                    *(self.budget.end, before),
                )
            self._end_by_budget(trainer, self.budget)

    def _end_by_budget(self, trainer: L.Trainer, budget: Budget) -> None:
        self.steps = budget.end or self.steps
        loop = trainer.fit_loop.epoch_loop
        loop.max_steps = min(loop.max_steps, self.steps)

    def to_checkpoint(self, trainer: L.Trainer) -> dict[str, Any]:
        """Returns what a checkpoint holds of the run; all ranks call it together."""
        sums = self.train_sums.new_zeros(trainer.world_size, len(self.train_sums))
        sums[trainer.global_rank] = self.train_sums  # each rank fills its own row
        return {
            "world_size": trainer.world_size,
            "accumulation": trainer.accumulate_grad_batches,
            "steps": self.steps,
            "budget": None if self.budget is None else self.budget.to_plain(),
            "validation_due": self.validation_due,
            "finished": self.finished,
            "early_end": self.early_end,
            "val_loss": self.val_loss(trainer.global_step),
            "seconds": self.seconds,
            "elapsed": self.clock.elapsed,
            "pairs_seen": self.pairs,
            "tokens_seen": self.tokens,
            "curves": pack_curves(self.curves),
            "train_sums": trainer.strategy.reduce(sums, reduce_op="sum").cpu(),
        }

    def restore(self, trainer: L.Trainer, saved: Mapping[str, Any], step: int) -> None:
        """Takes up a checkpoint of `step`; `steps` stays, unless a time budget has settled it."""
        if saved["train_sums"].shape[1] != len(self.train_sums):
            raise UserError(
                f"the checkpoint of step {step} is of an earlier version, which kept other sums "
                "of the scores: it cannot resume; init_from= starts a new run from its weights"
            )
        self.resumed_at, self.validation_due = step, saved["validation_due"]
        self.curves = unpack_curves(saved["curves"])
        self.clock, self.seconds = Clock(saved["elapsed"]), saved["seconds"]
        self.pairs, self.tokens = saved["pairs_seen"], saved["tokens_seen"]
        if len(saved["train_sums"]) == trainer.world_size:
            self.train_sums = saved["train_sums"][trainer.global_rank].clone()
        elif trainer.is_global_zero:
            self.train_sums = saved["train_sums"].sum(0)
        if self.budget is not None and saved["budget"] is not None:
            self.budget.restore(saved["budget"])
            self._end_by_budget(trainer, self.budget)


def loops_at(trainer: L.Trainer, step: int, validation_due: bool) -> dict[str, Any]:
    """Returns the state of a new trainer's loops after `step` optimizer steps, for a checkpoint.

    `validation_due` says whether the validation after that step is still to come.
    """
    state = trainer.fit_loop.state_dict()
    batches = step * trainer.accumulate_grad_batches
    _set(state["epoch_progress"], ready=1, started=1)
    done = dict.fromkeys(("ready", "started", "processed", "completed"), batches)
    _set(state["epoch_loop.batch_progress"], **done)
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    _set(optimizer["step"], ready=step, completed=step)
    _set(state["epoch_loop.scheduler_progress"], ready=step, completed=step)
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = step
    if validation_due:  # as if interrupted in its first batch: Lightning starts it again
        _set(state["epoch_loop.val_loop.batch_progress"], ready=1, started=1)
    return {"fit_loop": state}


def _set(progress: dict[str, Any], **counts: int) -> None:
    for part in ("total", "current"):
        progress[part].update(counts)
