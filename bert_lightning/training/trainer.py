"""Lightning's Trainer for a run: strategy, logger and callbacks from their options."""

from dataclasses import asdict
from pathlib import Path

import lightning as L  # noqa: N812
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, Strategy

from bert_lightning.config import LoggerName, StrategyName, TrainConfig
from bert_lightning.data.batches import Share
from bert_lightning.data.floors import Floors
from bert_lightning.model.bert import Block
from bert_lightning.training.callbacks import LossProgress, ValidateAtTheEnd
from bert_lightning.training.checkpoints import AtomicCheckpointIO
from bert_lightning.training.devices import Devices

_OWN_OPTIONS = ("accelerator", "devices", "max_steps", "max_epochs", "accumulate_grad_batches")
"""Trainer options that this module resolves; the others go to Lightning as they are."""


def build_trainer(
    config: TrainConfig, devices: Devices, share: Share, steps: int, floors: Floors | None
) -> L.Trainer:
    """The Trainer of a run of `steps` optimiser steps; `floors` go beside the validation losses."""
    options = asdict(config.trainer)
    for name in _OWN_OPTIONS:
        del options[name]
    options["default_root_dir"] = options["default_root_dir"] or config.run_dir
    interval = options["val_check_interval"]
    if isinstance(interval, int) and not isinstance(interval, bool):
        # Lightning counts batches here; the option counts optimiser steps.
        options["val_check_interval"] = min(interval, steps) * share.accumulation
    return L.Trainer(
        **options,
        accelerator=devices.accelerator,
        devices=devices.devices,
        strategy=_strategy(config, devices),
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=share.accumulation,
        logger=_logger(config),
        callbacks=_callbacks(config, floors),
        plugins=[AtomicCheckpointIO()],
    )


def _strategy(config: TrainConfig, devices: Devices) -> Strategy | str:
    name = config.strategy.name
    if name is StrategyName.auto and devices.world_size == 1:
        return "auto"
    if name is StrategyName.fsdp:
        return FSDPStrategy(auto_wrap_policy={Block})
    return DDPStrategy(process_group_backend="gloo" if devices.accelerator == "cpu" else None)


def _logger(config: TrainConfig) -> Logger | bool:
    if config.logger is None:
        return False
    if config.logger.name is LoggerName.csv:
        return CSVLogger(config.run_dir, name="", version="")
    return TensorBoardLogger(config.run_dir, name="", version="", default_hp_metric=False)


def _callbacks(config: TrainConfig, floors: Floors | None) -> list[Callback]:
    callbacks: list[Callback] = [ValidateAtTheEnd()]
    if config.trainer.enable_progress_bar:
        callbacks.append(LossProgress(floors))
    if config.trainer.enable_checkpointing:
        validates = floors is not None
        callbacks.append(
            ModelCheckpoint(
                dirpath=Path(config.run_dir) / "checkpoints",
                filename="best-{step:06d}",
                monitor="val/loss" if validates else None,
                save_top_k=config.callbacks.save_top_k if validates else 0,
                save_last=True,
                save_on_train_epoch_end=not validates,
            )
        )
    if config.callbacks.early_stopping_patience is not None:
        callbacks.append(
            EarlyStopping("val/loss", patience=config.callbacks.early_stopping_patience)
        )
    return callbacks
