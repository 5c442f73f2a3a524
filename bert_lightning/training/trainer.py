"""Lightning's Trainer for a run: strategy, loggers and callbacks from the run's options."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import lightning as L  # noqa: N812
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger

from bert_lightning.config import TrainConfig
from bert_lightning.data.baselines import Baselines
from bert_lightning.data.batches import StepPartition
from bert_lightning.extensions import find
from bert_lightning.runs.checkpoint_io import VerifiedCheckpointIO
from bert_lightning.runs.processes import use_own_launcher
from bert_lightning.runs.resume import ResumePoint
from bert_lightning.sizing.devices import Devices
from bert_lightning.training.callbacks import AverageWeights, RecordCurves, ValidateAtTheEnd
from bert_lightning.training.progress_bar import LossProgress
from bert_lightning.training.saving import SaveCheckpoints
from bert_lightning.training.stops import StopConsensus, StopSignals
from bert_lightning.training.strategies import build_strategy


@contextmanager
def quiet() -> Iterator[None]:
    """A context in which Lightning keeps its greetings, tips and wrong warnings to itself."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # of torch's newer pytree
            warnings.filterwarnings("ignore", message="The number of training batches .* smaller")
            # The values that are logged are those of all ranks already.
            warnings.filterwarnings("ignore", message="It is recommended to use .* sync_dist=True")
            # Of loaders whose state it has not saved: ours begins at any step.
            warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that end")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def own_callbacks(config: TrainConfig) -> list[Callback]:
    """Makes the callbacks that `callbacks.own` names.

    Raises:
        UserError: one cannot be found, or is not marked.
    """
    return [find("callback", name, "callbacks.own")() for name in config.callbacks.own]


def build_trainer(
    config: TrainConfig,
    devices: Devices,
    partition: StepPartition,
    steps: int,
    signals: StopSignals,
    *,
    baselines: Baselines | None = None,
    resumed: ResumePoint | None = None,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
) -> L.Trainer:
    """The Trainer of a run.

    Args:
        config: the whole run.
        devices: where it runs.
        partition: how its global batch is divided.
        steps: optimizer steps after which it ends.
        signals: what stops it.
        baselines: what is shown beside the validation losses.
        resumed: the checkpoint that it resumes from.
        loggers: what gets its curves.
        callbacks: more callbacks than the run's own.
    """
    options = {
        **asdict(config.trainer),
        "accelerator": devices.accelerator,
        "devices": devices.devices,
        "max_steps": steps,
        "max_epochs": -1,
        "accumulate_grad_batches": partition.accumulation,
        "default_root_dir": config.trainer.default_root_dir or config.run_dir,
    }
    interval = config.trainer.val_check_interval
    if isinstance(interval, int) and not isinstance(interval, bool):
        # Lightning counts batches here; the option counts optimizer steps.
        options["val_check_interval"] = min(interval, steps) * partition.accumulation
    trainer = L.Trainer(
        **options,
        strategy=build_strategy(config, devices),
        logger=[*loggers],
        callbacks=[*_callbacks(config, baselines, signals, resumed), *callbacks],
        plugins=[VerifiedCheckpointIO()],
    )
    use_own_launcher(trainer)
    # Lightning would save within the signal's handler, and ask all ranks before each batch whether
    # a signal was sent, which waits for the accelerator.
    trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
    return trainer


def _nothing() -> None:
    pass


def _callbacks(
    config: TrainConfig,
    baselines: Baselines | None,
    signals: StopSignals,
    resumed: ResumePoint | None,
) -> list[Callback]:
    run_dir, options = config.folder, config.callbacks
    checkpoints = None
    if config.trainer.enable_checkpointing and not config.trainer.fast_dev_run:
        corrupted = resumed.corrupted if resumed is not None else ()
        checkpoints = SaveCheckpoints(
            run_dir, options.every_n_train_steps, options.save_top_k, corrupted
        )
    # In this order: what is saved, shown or stopped after a step finds its curves and its average.
    callbacks: list[Callback] = [RecordCurves()]
    if config.optim.ema_decay is not None:
        callbacks.append(AverageWeights(config.optim.ema_decay))
    callbacks += [ValidateAtTheEnd(), StopConsensus(signals, checkpoints, run_dir)]
    if config.trainer.enable_progress_bar:
        callbacks.append(LossProgress(baselines))
    if options.early_stopping_patience is not None:
        callbacks.append(EarlyStopping("val/loss", patience=options.early_stopping_patience))
    return [*callbacks, checkpoints] if checkpoints is not None else callbacks
