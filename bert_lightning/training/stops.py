"""Stops of all ranks together: before an update that is not finite, or after a stop signal."""

import math
import os
import signal
import subprocess
import threading
import time
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from bert_lightning.errors import RunEnded, UserError
from bert_lightning.launching.stop_requests import requested
from bert_lightning.pretrained.checkpoints import checkpoints_by_step
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import SIGNALS, is_first_process, shown_command
from bert_lightning.training.module import TrainingModule
from bert_lightning.training.saving import SaveCheckpoints


class Consensus(NamedTuple):
    """The state that all ranks know at the same step."""

    signal: int
    """The stop signal that any of them received; 0 for none."""
    broken: int | None
    """A rank whose loss or gradient is not finite; None where all are."""
    elapsed: float
    """The latest of their clocks, in seconds."""
    out_of_time: bool
    """Whether the time of any of them is over."""


class StopSignals:
    """A context that records the process's first stop signal; a second Ctrl-C ends it at once.

    A worker of Ray is asked to stop instead, by `launching/stop_requests.py`.

    The time of the run is over at `deadline`, on the clock of `time.monotonic`.
    """

    def __init__(self, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self.received: int = 0  # while there is none
        self._group: Any = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            os._exit(128 + number)
        if not self.received and number == signal.SIGINT and is_first_process():
            os.write(2, b"\nstopping after this step; Ctrl-C again ends the run at once\n")
        self.received = self.received or number

    def agree(self, broken: bool = False, elapsed: float = 0.0) -> Consensus:
        """Tells all ranks what each knows of its loss and its clock; they call it together."""
        late = time.monotonic() >= self.deadline
        self.received = self.received or requested()
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return Consensus(self.received, 0 if broken else None, elapsed, late)
        if self._group is None:
            self._group = dist.new_group(backend="gloo")  # so that no accelerator waits
        rank = dist.get_rank() + 1 if broken else 0
        known = torch.tensor([self.received, rank, elapsed, late], dtype=torch.float64)
        dist.all_reduce(known, dist.ReduceOp.MAX, group=self._group)
        signal_number, rank, elapsed, late = known.tolist()
        broken_rank = int(rank) - 1 if rank else None
        return Consensus(int(signal_number), broken_rank, elapsed, bool(late))


class StopConsensus(Callback):
    """Has all ranks agree, before each update, that the loss is finite and whether to stop.

    After a stop signal a run ends between two steps, or within a validation. Before the first step
    there is nothing to save, and after the last nothing to stop. When its time is over, it ends
    after a step as after its last one.
    """

    def __init__(
        self, module: TrainingModule[Any], signals: StopSignals, checkpoints: SaveCheckpoints | None
    ) -> None:
        self.module = module
        self.signals = signals
        self.checkpoints = checkpoints
        self._stop_by = 0
        """The stop signal that all ranks know of."""
        self._out_of_time = False

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        module = self.module
        losses = torch.stack(module.losses)
        module.losses.clear()
        # fp16's scaled gradients overflow now and then, and its scaler skips such steps.
        scaled = module.config.trainer.precision.startswith("16")
        measured = losses.sum() if scaled else losses.sum() + module.gradient_norm()
        broken = not math.isfinite(measured.item())
        consensus = self.signals.agree(broken, module.progress.clock.elapsed)
        self._stop_by, self._out_of_time = consensus.signal, consensus.out_of_time
        if consensus.broken is not None:
            raise UserError(self._not_finite(trainer.global_step, losses, consensus.broken))
        module.progress.settle_budget(trainer, consensus.elapsed)

    def _not_finite(self, done: int, losses: Tensor, rank: int) -> str:
        config = self.module.config
        bad = (~losses.isfinite()).nonzero().flatten().tolist()
        batch = done * len(losses) + (bad[0] if bad else 0)
        good = checkpoints_by_step(config.folder)
        command = f"{shown_command('replay')} {shown(config.folder)} {done + 1}"
        shows = f"{command} shows the loss of each example; " * self.module.can_be_replayed
        return (
            f"the loss or its gradient is not finite at step {done + 1} (loss "
            f"{losses.sum().item():g}, gradient norm {self.module.gradient_norm().item():g}; batch "
            f"{batch} of rank {rank}): the step was not taken. The last good checkpoint is "
            f"{shown(good[0]) if good else 'none yet'}. "
            f"{shows}try an optim.lr below {config.optim.lr:g}, a longer optim.warmup_steps, or "
            "trainer.gradient_clip_val=1"
        )

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        progress, limit = self.module.progress, self.module.config.trainer.max_time
        ends = self.module.between_steps and trainer.global_step < progress.steps
        if ends and self._out_of_time:
            progress.out_of_time = trainer.should_stop = True
            progress.early_end = f"trainer.max_time={limit} is over; resume= continues the run"

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if self.module.between_steps:
            self._stop(trainer, validation_due=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop(trainer, validation_due=True)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._stop_by = self.signals.agree().signal
        self._stop(trainer, validation_due=True)

    def _stop(self, trainer: Trainer, validation_due: bool) -> None:
        if not self._stop_by or not 0 < trainer.global_step < trainer.max_steps:
            return
        path = self.checkpoints.save(trainer, validation_due) if self.checkpoints else None
        saved = f"saved {shown(path)}" if path else "saved nothing: checkpoints are off"
        name = signal.Signals(self._stop_by).name
        message = f"stopped at step {trainer.global_step} by {name}; {saved}"
        if self._stop_by == signal.SIGINT:
            raise RunEnded(message, 128 + signal.SIGINT)
        if trainer.is_global_zero and self._stop_by != signal.SIGTERM and path is not None:
            message += _requeue()
        trainer.strategy.barrier("stop")  # rank 0 would take an early end for a death
        raise RunEnded(message, 128 + signal.SIGTERM)


def _requeue() -> str:
    """Has SLURM requeue the job, if it is one; returns what to say of it."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return ""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, encoding="utf-8")
    except OSError as error:
        return f"; scontrol requeue {job} failed: {error}"
    if done.returncode:
        return f"; scontrol requeue {job} failed: {done.stderr.strip()}"
    return f"; SLURM requeues job {job}"
