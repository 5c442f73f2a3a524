"""How the global batch is divided among devices and micro-batches."""

import math
import os
from dataclasses import replace

import torch

from bert_lightning.config import BatchConfig, TrainConfig
from bert_lightning.data.batches import StepPartition
from bert_lightning.data.phases import entries, heaviest, phase_options
from bert_lightning.errors import UserError
from bert_lightning.sizing.devices import Devices
from bert_lightning.sizing.memory import USABLE, known_vocab_size, memory

_SHARE_OF_HOST = 0.5
"""The share of the host's free memory that a run may take; others live there too."""


def divide_global_batch(
    config: TrainConfig, devices: Devices, available: float | None = None
) -> StepPartition:
    """In how many micro-batches each device sees its part of a step, the same in every phase.

    The rank is 0: the process learns its own only when the group exists. `available` is the memory
    of a device in bytes; None asks this machine's.

    Raises:
        UserError: where the sizes do not multiply to the global batch size of every phase.
    """
    batch, world = config.batch, devices.world_size
    micro, accumulation = batch.micro_batch_size, config.trainer.accumulate_grad_batches
    phases, names = phase_options(batch), _size_names(batch)
    shared = {f"{world} device{'s' if world > 1 else ''}": world}
    batches: dict[str, int] = {}
    if accumulation is not None:
        batches[f"trainer.accumulate_grad_batches={accumulation}"] = accumulation
    if micro is not None:
        most = phases.index(heaviest(batch))
        parts = {**shared, f"batch.micro_batch_size={micro}": micro, **batches}
        total = phases[most].global_batch_size
        _require_product(names[most], total, parts, exactly=accumulation is not None)
        accumulation = total // (world * micro)
        batches = batches or {f"{accumulation} micro-batches": accumulation}
    for name, options in zip(names, phases, strict=True):
        _require_product(name, options.global_batch_size, {**shared, **batches})
    if accumulation is None:
        room = _available(devices) if available is None else available
        accumulation = _fewest_micro_batches(config, devices, room)
    return StepPartition(0, world, accumulation)


def _size_names(batch: BatchConfig) -> list[str]:
    """The option that says the batch size of each phase."""
    return [
        "batch.global_batch_size"
        if entry.global_batch_size is None
        else f"batch.phases[{number}].global_batch_size"
        for number, entry in enumerate(entries(batch))
    ]


def _require_product(name: str, total: int, parts: dict[str, int], exactly: bool = False) -> None:
    unit = math.prod(parts.values())
    if total == unit or (not exactly and total % unit == 0):
        return
    below = total // unit * unit
    nearest = [unit] if exactly else [size for size in (below, below + unit) if size]
    raise UserError(
        f"{name}={total} is not {'' if exactly else 'a multiple of '}{' × '.join(parts)} "
        f"({unit} pairs); nearest: " + " or ".join(f"{name}={size}" for size in nearest)
    )


def _fewest_micro_batches(config: TrainConfig, devices: Devices, available: float) -> int:
    """With which each phase fits into the available bytes; where none do, the most there can be."""
    world, vocab_size = devices.world_size, known_vocab_size(config)
    sizes, fitting = [], []
    for options in phase_options(config.batch):
        needs = memory(replace(config, batch=options), vocab_size, world, devices.on_gpu)
        fitting.append(needs.largest_micro_batch(available))
        sizes.append(options.global_batch_size // world)
    most = math.gcd(*sizes)
    return next(
        count
        for count in range(1, most + 1)
        if count == most
        or (most % count == 0 and all(n // count <= m for n, m in zip(sizes, fitting, strict=True)))
    )


def _available(devices: Devices) -> float:
    if devices.on_gpu:
        return USABLE * torch.cuda.mem_get_info()[0]
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _SHARE_OF_HOST * free / devices.count
