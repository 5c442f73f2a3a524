"""How far a run has come, and how that stands in a checkpoint: plain types and tensors only.

Lightning's own account of its loops depends on which hook a checkpoint was saved in, and on the
number of micro-batches. Here a checkpoint always lies between two optimizer steps, and the loops
are set from the step's number alone.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L  # noqa: N812
from torch import Tensor

from bert_lightning.optim.time_budget import Budget
from bert_lightning.runs.curves import Curves, pack_curves, unpack_curves


class Clock:
    """Counts seconds while it runs."""

    def __init__(self, elapsed: float = 0.0) -> None:
        self._before = elapsed
        self._since: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._before + (0.0 if self._since is None else time.perf_counter() - self._since)

    def run(self) -> None:
        """Counts on from where it was halted."""
        self._before, self._since = self.elapsed, time.perf_counter()

    def halt(self) -> None:
        """Stops counting until it runs again."""
        self._before, self._since = self.elapsed, None


@dataclass
class Progress:
    """A run between two optimizer steps, apart from its weights and its optimizer."""

    steps: int
    """Optimizer steps of the whole run."""
    budget: Budget | None = None
    """What decides on `steps`, where the run has a time budget."""
    curves: Curves = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    """Training time, validation excluded."""
    seconds: float = 0.0
    """Of training, up to the last log."""
    pairs: int = 0
    """Sentence pairs seen up to the last log."""
    tokens: int = 0
    """Tokens seen up to the last log."""
    resumed_at: int = 0
    """The step of the checkpoint that the run was resumed from; 0 for a new run."""
    validation_due: bool = False
    """Whether the validation after this step is still to come."""
    finished: bool = False
    """Whether the run ends at this step."""

    def count(self, pairs: int, tokens: int) -> float:
        """Adds what was seen since the last log; returns the seconds that it took."""
        seconds = self.clock.elapsed - self.seconds
        self.seconds += seconds
        self.pairs += pairs
        self.tokens += tokens
        return seconds

    def val_loss(self, step: int) -> float | None:
        """The joint validation loss after a step, where there was one and it is finite."""
        at, loss = self.curves.get("val/loss", [(-1, 0.0)])[-1]
        return loss if at == step and math.isfinite(loss) else None

    def settle_budget(self, step: int, elapsed: float) -> None:
        """Turns what is left of a time budget into steps, once its decay is due.

        Args:
            step: optimizer steps done.
            elapsed: seconds that they took; all processes have to give the same number.
        """
        if self.budget is not None:
            self.budget.settle(step, elapsed)
            self.steps = self.budget.end or self.steps

    def to_checkpoint(
        self, step: int, world_size: int, accumulation: int, train_sums: Tensor
    ) -> dict[str, Any]:
        """What a checkpoint holds of the run.

        Args:
            step: optimizer steps done.
            world_size: processes of the run.
            accumulation: micro-batches of a step in each process.
            train_sums: `(world_size, sums)`: scores of each rank since the last log.
        """
        return {
            "world_size": world_size,
            "accumulation": accumulation,
            "steps": self.steps,
            "budget": None if self.budget is None else [self.budget.end, self.budget.decay],
            "validation_due": self.validation_due,
            "finished": self.finished,
            "val_loss": self.val_loss(step),
            "seconds": self.seconds,
            "elapsed": self.clock.elapsed,
            "pairs_seen": self.pairs,
            "tokens_seen": self.tokens,
            "curves": pack_curves(self.curves),
            "train_sums": train_sums,
        }

    def restore(self, saved: Mapping[str, Any], step: int) -> None:
        """Takes up what a checkpoint of `step` holds.

        The steps of the run remain those of its config, unless a time budget has settled them.
        """
        self.resumed_at = step
        self.curves = unpack_curves(saved["curves"])
        self.clock, self.seconds = Clock(saved["elapsed"]), saved["seconds"]
        self.pairs, self.tokens = saved["pairs_seen"], saved["tokens_seen"]
        if self.budget is not None and saved["budget"] is not None:
            self.budget.end, self.budget.decay = saved["budget"]
            self.steps = self.budget.end or self.steps


def loops_at(trainer: L.Trainer, step: int, validation_due: bool) -> dict[str, Any]:
    """The state of Lightning's loops after `step` optimizer steps, for `loops` of a checkpoint.

    Args:
        trainer: a new one, whose loops have not begun.
        step: optimizer steps done.
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
    if validation_due:  # as if interrupted in its first batch: Lightning starts it again
        _set(state["epoch_loop.val_loop.batch_progress"], ready=1, started=1)
    return {"fit_loop": state}


def _set(progress: dict[str, Any], **counts: int) -> None:
    for part in ("total", "current"):
        progress[part].update(counts)
