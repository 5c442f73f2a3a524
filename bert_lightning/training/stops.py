"""Stops of all ranks together: before an update that is not finite, or after a stop signal.

A GPU is asked for nothing while it works on a step. It leaves a bad update out by itself, and what
the ranks agreed on is read a step later, when it has long arrived; or at once where something
follows that others see: a log, a validation, a checkpoint, the end. So a run may end a step later
on GPUs than on CPUs, and never with a bad update.
"""

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
from bert_lightning.optim.skipping import can_skip, skip_where
from bert_lightning.pretrained.checkpoints import checkpoints_by_step
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import SIGNALS, is_first_process, shown_command
from bert_lightning.training.module import TrainingModule
from bert_lightning.training.saving import SaveCheckpoints

READ_LATER = ("cuda",)
"""Devices that work on while the host continues: what they know is read a step later."""


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


class Exchange:
    """The largest of each value that any rank has, on its way from device to device to the host.

    Args:
        broken: `()` bool, on the device of the gradients: whether this rank's are not finite.
        known: what else this rank knows: its stop signal, its clock, whether its time is over.
    """

    def __init__(self, broken: Tensor, known: tuple[int, float, bool]) -> None:
        on_gpu = broken.is_cuda
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        number = dist.get_rank() + 1 if several else 1
        values = torch.tensor([0, *known], dtype=torch.float64, pin_memory=on_gpu)
        values = values.to(broken.device if on_gpu else "cpu", non_blocking=True)
        values[0] = broken * number
        if several:
            dist.all_reduce(values, dist.ReduceOp.MAX)
        self.broken = values[0] > 0
        """`()` bool, on the same device: whether any rank's gradients are not finite."""
        self._values = values.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.current_stream().record_event() if on_gpu else None

    def read(self) -> Consensus:
        """Returns what all ranks know now; waits for the device where it is not that far yet."""
        if self._arrived is not None:
            self._arrived.synchronize()
        rank, number, elapsed, late = self._values.tolist()
        return Consensus(int(number), int(rank) - 1 if rank else None, elapsed, bool(late))


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

    def agree(self, broken: Tensor, elapsed: float = 0.0) -> Exchange:
        """Tells all ranks what each knows of its loss and its clock; they call it together."""
        self.received = self.received or requested()
        return Exchange(broken, (self.received, elapsed, time.monotonic() >= self.deadline))


class _Update(NamedTuple):
    """An update that was decided on, with what a message needs that says why it was not taken."""

    done: int
    """The steps before it."""
    losses: Tensor
    """`(micro-batches,)`: this rank's terms of its loss."""
    gradient_norm: Tensor


class StopConsensus(Callback):
    """Has all ranks agree, before each update, that the loss is finite and whether to stop.

    Where a device works on by itself, it is the device that leaves a bad update out, and the host
    reads of it in the next step. For optimizers that cannot (:func:`can_skip`) the host waits.

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
        self._unread: tuple[Exchange, _Update | None] | None = None
        """The last exchange, with the update that it was about, until it is read."""

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._read(trainer)
        module = self.module
        update = _Update(trainer.global_step, torch.stack(module.losses), module.gradient_norm())
        module.losses.clear()
        # fp16's scaled gradients overflow now and then, and its scaler skips such steps.
        scaled = module.config.trainer.precision.startswith("16")
        measured = update.losses.sum() + (0 if scaled else update.gradient_norm)
        exchange = self.signals.agree(~measured.isfinite(), module.progress.clock.elapsed)
        self._unread = exchange, update
        later = _works_on(measured) and not module.logs(update.done + 1)
        if later and can_skip(trainer.optimizers[0]):
            skip_where(trainer.optimizers[0], exchange.broken)
        else:
            self._read(trainer)

    def _read(self, trainer: Trainer) -> None:
        """Takes up what the ranks agreed on last, if that was not read yet; all call it together.

        Raises:
            UserError: a loss or a gradient was not finite.
        """
        if self._unread is None:
            return
        (exchange, update), self._unread = self._unread, None
        consensus = exchange.read()
        self._stop_by, self._out_of_time = consensus.signal, consensus.out_of_time
        if update is None:
            return
        if consensus.broken is not None:
            raise UserError(self._not_finite(update, consensus.broken))
        self.module.progress.settle_budget(trainer, consensus.elapsed)

    def _not_finite(self, update: _Update, rank: int) -> str:
        config, step = self.module.config, update.done + 1
        bad = (~update.losses.isfinite()).nonzero().flatten().tolist()
        batch = update.done * len(update.losses) + (bad[0] if bad else 0)
        good = checkpoints_by_step(config.folder)
        command = f"{shown_command('replay')} {shown(config.folder)} {step}"
        shows = f"{command} shows the loss of each example; " * self.module.can_be_replayed
        return (
            f"the loss or its gradient is not finite at step {step} (loss "
            f"{update.losses.sum().item():g}, gradient norm {update.gradient_norm.item():g}; batch "
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
        self._read(trainer)
        self._stop(trainer, validation_due=True)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._read(trainer)
        fine = torch.zeros((), dtype=torch.bool, device=self.module.device)
        self._unread = self.signals.agree(fine), None
        if not _works_on(fine):
            self._read(trainer)
        self._stop(trainer, validation_due=True)

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        self._read(trainer)  # before anything is written

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(trainer)

    def _stop(self, trainer: Trainer, validation_due: bool) -> None:
        if not self._stop_by or not 0 < trainer.global_step < trainer.max_steps:
            return
        self._read(trainer)  # an error goes before a stop
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


def _works_on(tensor: Tensor) -> bool:
    """Returns whether a tensor's device works on while the host continues."""
    return tensor.device.type in READ_LATER


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
