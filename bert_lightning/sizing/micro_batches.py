"""Gradient accumulation: the global batch divided into micro-batches that fit into memory."""

import math
from dataclasses import replace

import psutil
import torch

from bert_lightning.config import TrainConfig
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.phases import entries, heaviest, phase_options
from bert_lightning.errors import UserError
from bert_lightning.sizing.devices import Devices
from bert_lightning.sizing.memory import USABLE, memory


def divide_global_batch(
    config: TrainConfig,
    devices: Devices,
    vocab_size: int,
    available: float | None = None,
    others: float = 0.0,
) -> StepPartition:
    """Returns rank 0's partition of a step; the accumulation is the same in every phase.

    `available` are the bytes that one device may use; None asks this machine. `others` are the
    bytes that other models than the one that is trained need of them.

    Raises:
        UserError: the sizes do not multiply to the global batch size of every phase.
    """
    batch, world = config.batch, devices.world_size
    micro, accumulation = batch.micro_batch_size, config.trainer.accumulate_grad_batches
    phases = phase_options(batch)
    names = [
        f"batch.{'' if entry.global_batch_size is None else f'phases[{number}].'}global_batch_size"
        for number, entry in enumerate(entries(batch))
    ]
    ranks = {f"{world} device{'s' if world > 1 else ''}": world}
    batches: dict[str, int] = {}
    if accumulation is not None:
        batches[f"trainer.accumulate_grad_batches={accumulation}"] = accumulation
    if micro is not None:
        largest = phases.index(heaviest(batch))
        factors = {**ranks, f"batch.micro_batch_size={micro}": micro, **batches}
        total = phases[largest].global_batch_size
        _require_product(names[largest], total, factors, exactly=accumulation is not None)
        accumulation = total // (world * micro)
        batches = batches or {f"{accumulation} micro-batches": accumulation}
    for name, options in zip(names, phases, strict=True):
        _require_product(name, options.global_batch_size, {**ranks, **batches})
    if accumulation is None:
        room = _available(devices) if available is None else available
        accumulation = _fewest_micro_batches(config, devices, vocab_size, room - others)
    return StepPartition(0, world, accumulation)


def _require_product(name: str, total: int, factors: dict[str, int], exactly: bool = False) -> None:
    unit = math.prod(factors.values())
    if total == unit or (not exactly and total % unit == 0):
        return
    below = total // unit * unit
    nearest = [unit] if exactly else [size for size in (below, below + unit) if size]
    raise UserError(
        f"{name}={total} is not {'' if exactly else 'a multiple of '}{' × '.join(factors)} "
        f"({unit} pairs); nearest: " + " or ".join(f"{name}={size}" for size in nearest)
    )


def _fewest_micro_batches(
    config: TrainConfig, devices: Devices, vocab_size: int, available: float
) -> int:
    """Returns the smallest accumulation with which every phase fits, else the largest possible."""
    world = devices.world_size
    sizes, fitting = [], []
    for options in phase_options(config.batch):
        needs = memory(replace(config, batch=options), vocab_size, world, devices.on_gpu)
        fitting.append(needs.largest_micro_batch(available))
        sizes.append(options.global_batch_size // world)
    most = math.gcd(*sizes)
    for count in range(1, most):
        fits = all(size // count <= fit for size, fit in zip(sizes, fitting, strict=True))
        if most % count == 0 and fits:
            return count
    return most


def _available(devices: Devices) -> float:
    """Returns the bytes that a run may use on one of these devices now."""
    if devices.on_gpu:
        return USABLE * torch.cuda.mem_get_info()[0]
    return 0.5 * psutil.virtual_memory().available / devices.count  # the rest is for others
