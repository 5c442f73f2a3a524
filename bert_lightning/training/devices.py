"""Which devices a run has, and how the global batch is divided among them."""

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch

from bert_lightning.config import StrategyName, TrainConfig
from bert_lightning.data.batches import Share
from bert_lightning.errors import UserError, did_you_mean

log = logging.getLogger(__name__)

_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
_PRECISIONS = (
    "32-true",
    "bf16-mixed",
    "16-mixed",
    "bf16-true",
    "16-true",
    "64-true",
    "32",
    "16",
    "bf16",
    "64",
)
_SHARE_OF_MEMORY = 0.4
"""The share of free memory that a micro-batch's activations may take."""


@dataclass(frozen=True)
class Devices:
    """What Lightning's Trainer is told."""

    accelerator: str
    devices: Any
    count: int
    """Devices of one node."""
    num_nodes: int

    @property
    def world_size(self) -> int:
        return self.count * self.num_nodes


def find_devices(config: TrainConfig) -> Devices:
    """Resolves `auto`: GPUs where there are any, CPU processes otherwise.

    Raises:
        UserError: where more is asked for than the machine has.
    """
    wanted, devices = config.trainer.accelerator, config.trainer.devices
    if wanted not in _ACCELERATORS:
        raise UserError(
            f"trainer.accelerator={wanted} is not one of {', '.join(_ACCELERATORS)}"
            + did_you_mean(wanted, _ACCELERATORS)
        )
    gpus = torch.cuda.device_count()
    if wanted in ("gpu", "cuda") and not gpus:
        raise UserError(
            f"trainer.accelerator={wanted} with trainer.devices={devices} asks for GPUs, and torch "
            f"{torch.__version__} finds 0; trainer.accelerator=cpu trains without"
        )
    single = devices in ("auto", 1, -1, "1")
    if wanted == "auto":
        if gpus:
            wanted = "gpu"
        elif torch.backends.mps.is_available() and single:
            wanted = "mps"
        else:
            wanted = "cpu"
    available = gpus if wanted in ("gpu", "cuda") else 1
    count, highest = _count(devices, available)
    if wanted in ("gpu", "cuda") and max(count, highest + 1) > gpus:
        raise UserError(
            f"trainer.devices={devices} asks for more GPUs than the {gpus} that torch finds; "
            f"trainer.devices={gpus} uses them all"
        )
    if wanted == "cpu" and devices in ("auto", -1):
        devices = 1
    _check_precision(config.trainer.precision, wanted)
    if config.strategy.name is StrategyName.fsdp and wanted not in ("gpu", "cuda"):
        raise UserError(
            f"strategy=fsdp shards a model over CUDA GPUs, and this run is on {wanted} with {gpus} "
            "GPUs found; strategy=ddp shares the work among CPU processes"
        )
    return Devices(wanted, devices, count, config.trainer.num_nodes)


def _count(devices: Any, available: int) -> tuple[int, int]:
    """How many devices are meant, and the highest index named, -1 where none is."""
    if devices in ("auto", -1, "-1"):
        return max(1, available), -1
    if isinstance(devices, str) and "," not in devices:
        devices = int(devices)
    if isinstance(devices, int):
        return devices, -1
    if isinstance(devices, str):
        devices = [int(index) for index in devices.split(",")]
    return len(devices), max(devices)


def _check_precision(precision: str, accelerator: str) -> None:
    if precision not in _PRECISIONS:
        raise UserError(
            f"trainer.precision={precision} is not one of {', '.join(_PRECISIONS)}"
            + did_you_mean(precision, _PRECISIONS)
        )
    if accelerator == "cpu" and precision in ("16-mixed", "16-true", "16"):
        raise UserError(
            f"trainer.precision={precision} needs a GPU, and this run is on the CPU; "
            "use trainer.precision=bf16-mixed"
        )


def divide_global_batch(config: TrainConfig, devices: Devices) -> Share:
    """How many pairs each device holds at a time, and how often, to see the global batch.

    The rank is 0: the process learns its own only when the group exists.

    Raises:
        UserError: where the sizes do not multiply to the global batch size.
    """
    total, world = config.data.global_batch_size, devices.world_size
    micro, accumulation = config.data.micro_batch_size, config.trainer.accumulate_grad_batches
    unit = world * (micro or 1) * (accumulation or 1)
    fixed = micro is not None and accumulation is not None
    if total % unit or (fixed and total != unit):
        parts = [f"{world} device{'s' if world > 1 else ''}"]
        parts += [f"data.micro_batch_size={micro}"] if micro else []
        parts += [f"trainer.accumulate_grad_batches={accumulation}"] if accumulation else []
        below = total // unit * unit
        nearest = sorted({size for size in (below, below + unit) if size})
        if fixed:
            nearest = [unit]
        raise UserError(
            f"data.global_batch_size={total} is not {'' if fixed else 'a multiple of '}"
            f"{' × '.join(parts)} ({unit} pairs); nearest: "
            + " or ".join(f"data.global_batch_size={size}" for size in nearest)
        )
    per_device = total // world
    if micro is None and accumulation is None:
        micro = _largest_that_fits(config, devices, per_device)
    if micro is None:
        micro = per_device // (accumulation or 1)
    return Share(0, world, micro, per_device // micro)


def _largest_that_fits(config: TrainConfig, devices: Devices, per_device: int) -> int:
    budget = _SHARE_OF_MEMORY * _free_memory(devices)
    fitting = max(1, int(budget // activation_bytes(config)))
    divisors = [size for size in range(1, per_device + 1) if per_device % size == 0]
    return max(size for size in divisors if size <= fitting)


def activation_bytes(config: TrainConfig) -> int:
    """Bytes that one pair of full length keeps for the backward pass, in fp32.

    Counted from the layers' code: of each token, fourteen vectors of the hidden size and three of
    the feed-forward's in each block, and four rows of attention weights for each head.
    """
    model, length = config.model, config.data.max_length
    block = 14 * model.hidden_size + 3 * model.intermediate_size
    block += 4 * model.num_attention_heads * length
    return 4 * length * (model.num_hidden_layers * block + 6 * model.hidden_size)


def _free_memory(devices: Devices) -> float:
    if devices.accelerator in ("gpu", "cuda"):
        return float(torch.cuda.mem_get_info()[0])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free / devices.count
