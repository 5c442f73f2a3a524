"""Lightning's Trainer for a run: strategy, loggers and callbacks from the run's options."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import lightning as L  # noqa: N812
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from bert_lightning.config import RunConfig
from bert_lightning.runs.checkpoint_io import VerifiedCheckpointIO
from bert_lightning.runs.cores.contention import SayContention
from bert_lightning.runs.processes import use_own_launcher
from bert_lightning.training.assembly import Run
from bert_lightning.training.callbacks import AverageWeights, EndEarly, MeasureUpdates, RecordCurves
from bert_lightning.training.progress_bar import LossProgress
from bert_lightning.training.saving import SaveCheckpoints
from bert_lightning.training.stops import StopConsensus, StopSignals
from bert_lightning.training.strategies import build_strategy, environments

_PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}
_SET_HERE = ("max_time", "val_check_interval", "profiler")
"""Options that are not passed to Lightning as they are."""


@contextmanager
def quiet() -> Iterator[None]:
    """A context in which Lightning keeps its greetings, tips and wrong warnings to itself."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in (
                ".*LeafSpec.*",  # of torch's newer pytree
                "The number of training batches .* smaller",
                "It is recommended to use .* sync_dist=True",  # the values are of all ranks already
                ".* does not have many workers",  # `scripts/doctor.py` measures whether it waits
                "You're resuming from a checkpoint that end",  # our loader begins at any step
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def build_trainer(
    run: Run,
    steps: int,
    signals: StopSignals,
    *,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
) -> L.Trainer:
    """Builds the Trainer of a run that ends after `steps` optimizer steps."""
    config, accumulation = run.config, run.partition.accumulation
    given = {name: value for name, value in asdict(config.trainer).items() if name not in _SET_HERE}
    options: dict[str, Any] = {
        **given,
        "accelerator": run.devices.accelerator,
        "devices": run.devices.devices,
        "max_steps": steps,
        "max_epochs": -1,
        "accumulate_grad_batches": accumulation,
        # Lightning counts batches here; the option counts optimizer steps.
        "val_check_interval": validation_interval(config, steps) * accumulation,
        "check_val_every_n_epoch": None,
        "use_distributed_sampler": False,
        "default_root_dir": config.run_dir,
        "enable_autolog_hparams": False,
    }
    if (profiler := config.trainer.profiler) is not None:
        options["profiler"] = _PROFILERS[profiler](dirpath=config.folder, filename="profile")
    trainer = L.Trainer(
        **options,
        strategy=build_strategy(config, run.devices),
        logger=[*loggers],
        callbacks=[*_callbacks(run, signals), *run.callbacks, *callbacks],
        plugins=[VerifiedCheckpointIO(), *environments()],
    )
    use_own_launcher(trainer)
    # Lightning would save within the signal's handler, and ask all ranks before each batch whether
    # a signal was sent, which waits for the accelerator.
    loop = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def validation_interval(config: RunConfig, steps: int) -> int:
    """Returns the optimizer steps between validations, in a run of `steps` steps."""
    interval = config.trainer.val_check_interval
    if isinstance(interval, float):
        return max(1, round(interval * steps))
    return min(interval, steps)


def _callbacks(run: Run, signals: StopSignals) -> list[Callback]:
    config, module = run.config, run.module
    checkpoints = None
    if config.trainer.enable_checkpointing:
        checkpoints = SaveCheckpoints(module, run.resumed.corrupted if run.resumed else ())
    # In this order: what is saved, shown or stopped after a step finds its curves and its average.
    updates = MeasureUpdates(module)
    callbacks: list[Callback] = [RecordCurves(module, updates, run.baselines)]
    if config.optim.ema_decay is not None:
        callbacks.append(AverageWeights(module, config.optim.ema_decay))
    # A time budget decides in the consensus which step is the last, which is measured.
    callbacks += [StopConsensus(module, signals, checkpoints), updates, SayContention()]
    if config.trainer.enable_progress_bar:
        callbacks.append(LossProgress(module, run.validation_line))
    if (patience := config.callbacks.early_stopping_patience) is not None:
        callbacks.append(EndEarly(module, patience))
    return [*callbacks, checkpoints] if checkpoints is not None else callbacks
