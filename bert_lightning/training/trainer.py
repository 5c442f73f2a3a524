"""Lightning's Trainer for a run: strategy, logger and callbacks from their options."""

import logging
import warnings
from dataclasses import asdict

import lightning as L  # noqa: N812
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger

from bert_lightning.config import LoggerName, TrainConfig
from bert_lightning.data.baselines import Baselines
from bert_lightning.data.batches import StepPartition
from bert_lightning.runs.checkpoint_io import VerifiedCheckpointIO
from bert_lightning.runs.loggers import csv_logger, tensorboard_logger
from bert_lightning.runs.processes import use_own_launcher
from bert_lightning.runs.progress import unpack_curves
from bert_lightning.runs.resume import ResumePoint
from bert_lightning.sizing.devices import Devices
from bert_lightning.training.callbacks import LossProgress, ValidateAtTheEnd
from bert_lightning.training.saving import SaveCheckpoints
from bert_lightning.training.stops import StopConsensus, StopSignals
from bert_lightning.training.strategies import build_strategy

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)  # their greetings and tips
warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's, of torch's newer pytree
# Lightning's too, of loaders that it has not saved: ours begins at any step.
warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")

_OWN_OPTIONS = ("accelerator", "devices", "max_steps", "max_epochs", "accumulate_grad_batches")
"""Trainer options that this module resolves; the others go to Lightning as they are."""


def build_trainer(
    config: TrainConfig,
    devices: Devices,
    share: StepPartition,
    steps: int,
    baselines: Baselines | None,
    signals: StopSignals,
    earlier: ResumePoint | None,
) -> L.Trainer:
    """The Trainer of a run.

    Args:
        config: the whole run.
        devices: where it runs.
        share: how its global batch is divided.
        steps: optimiser steps of the whole run.
        floors: what goes beside the validation losses.
        signals: what stops it.
        earlier: what it goes on from.
    """
    options = asdict(config.trainer)
    for name in _OWN_OPTIONS:
        del options[name]
    options["default_root_dir"] = options["default_root_dir"] or config.run_dir
    interval = options["val_check_interval"]
    if isinstance(interval, int) and not isinstance(interval, bool):
        # Lightning counts batches here; the option counts optimiser steps.
        options["val_check_interval"] = min(interval, steps) * share.accumulation
    trainer = L.Trainer(
        **options,
        accelerator=devices.accelerator,
        devices=devices.devices,
        strategy=build_strategy(config, devices),
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=share.accumulation,
        logger=_logger(config, earlier),
        callbacks=_callbacks(config, baselines, signals, earlier),
        plugins=[VerifiedCheckpointIO()],
    )
    use_own_launcher(trainer)
    # Lightning would save within the signal's handler, and ask all devices before each batch
    # whether one was sent, which an accelerator has to be waited for.
    trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
    return trainer


def _nothing() -> None:
    pass


def _logger(config: TrainConfig, earlier: ResumePoint | None) -> Logger | bool:
    if config.logger is None:
        return False
    if config.logger.name is LoggerName.csv:
        curves = unpack_curves(earlier.progress["curves"]) if earlier is not None else {}
        return csv_logger(config.folder, curves)
    return tensorboard_logger(config.folder, earlier.step if earlier is not None else 0)


def _callbacks(
    config: TrainConfig,
    baselines: Baselines | None,
    signals: StopSignals,
    earlier: ResumePoint | None,
) -> list[Callback]:
    run_dir = config.folder
    checkpoints = None
    if config.trainer.enable_checkpointing and not config.trainer.fast_dev_run:
        checkpoints = SaveCheckpoints(
            run_dir,
            config.callbacks.every_n_train_steps,
            config.callbacks.save_top_k,
            earlier.damaged if earlier is not None else (),
        )
    callbacks: list[Callback] = [ValidateAtTheEnd(), StopConsensus(signals, checkpoints, run_dir)]
    if config.trainer.enable_progress_bar:
        callbacks.append(LossProgress(baselines))
    if config.callbacks.early_stopping_patience is not None:
        callbacks.append(
            EarlyStopping("val/loss", patience=config.callbacks.early_stopping_patience)
        )
    return [*callbacks, checkpoints] if checkpoints is not None else callbacks
