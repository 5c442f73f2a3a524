"""What saves a GPU's memory and costs time: only where it is needed, if the options leave it open.

Activation checkpointing costs a third more forward work, sharding by fsdp a gather of every block
in each pass. Neither changes what a run learns.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from bert_lightning.config import LauncherName, StrategyConfig, StrategyName, TrainConfig
from bert_lightning.config.trainer import SHARDED_PRECISIONS
from bert_lightning.data.phases import phase_options
from bert_lightning.sizing.devices import Devices
from bert_lightning.sizing.memory import USABLE, memory

ENOUGH_TOKENS = 8192
"""Tokens of a micro-batch that memory must have room for: a product of so many rows and a width of
1,024 is 256 tiles of 128 by 256, about two for each of an H100's 132 processors. That smaller ones
are slower than what saves memory is arithmetic, and was not measured."""
_log = logging.getLogger(__name__)


def with_savings(
    config: TrainConfig, devices: Devices, vocab_size: int, available: float | None = None
) -> TrainConfig:
    """Decides on `model.activation_checkpointing=null` and on `strategy=auto` by memory.

    Off the GPU, the one is off and the other is ddp. `available` are the bytes that a run may use
    on a device; None asks this machine for those of a whole GPU, which all ranks have alike.
    """
    candidates = [*_candidates(config, devices)]
    if len(candidates) > 1 and available is None:
        available = USABLE * torch.cuda.mem_get_info()[1]
    for candidate in candidates[:-1]:
        assert available is not None
        if _has_room(candidate, devices, vocab_size, available):
            chosen = candidate
            break
    else:
        chosen = candidates[-1]
    if chosen is not candidates[0]:
        _log.info(
            "memory: model.activation_checkpointing=%s strategy=%s, as without them a micro-batch "
            "of %s tokens does not fit",
            *(str(chosen.model.activation_checkpointing).lower(), chosen.strategy.name.value),
            f"{ENOUGH_TOKENS:,}",
        )
    return chosen


def _candidates(config: TrainConfig, devices: Devices) -> Iterator[TrainConfig]:
    """Yields the run with ever more that saves memory, as far as its options leave it open."""
    given = config.model.activation_checkpointing
    choices = [False, True] if given is None and devices.on_gpu else [bool(given)]
    for checkpointing in choices:
        config = replace(
            config, model=replace(config.model, activation_checkpointing=checkpointing)
        )
        yield config
    if (
        (devices.on_gpu and devices.world_size > 1)
        and (config.strategy.name, config.launcher.name) == (StrategyName.auto, LauncherName.auto)
        and config.trainer.precision in SHARDED_PRECISIONS
    ):
        yield replace(config, strategy=StrategyConfig(StrategyName.fsdp))


def _has_room(config: TrainConfig, devices: Devices, vocab_size: int, available: float) -> bool:
    """Returns whether a micro-batch fits that keeps a device busy, in every phase."""
    accumulation, micro = config.trainer.accumulate_grad_batches, config.batch.micro_batch_size
    for options in phase_options(config.batch):
        wanted = options.global_batch_size // devices.world_size
        if accumulation is not None:
            wanted //= accumulation
        else:
            wanted = min(wanted, micro or math.ceil(ENOUGH_TOKENS / options.max_length))
        needs = memory(
            replace(config, batch=options), vocab_size, devices.world_size, devices.on_gpu
        )
        if needs.largest_micro_batch(available) < wanted:
            return False
    return True
