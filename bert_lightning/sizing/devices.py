"""The devices that a run uses, and the precision in which they compute."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from bert_lightning.config import StrategyName, TrainConfig
from bert_lightning.errors import UserError, did_you_mean

_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
_PRECISIONS = (
    "auto",
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
_SHARDED_PRECISIONS = ("auto", "32-true", "bf16-mixed", "bf16-true", "16-true", "32", "bf16")
"""The precisions that fsdp supports."""


@dataclass(frozen=True)
class Devices:
    """The devices of a run, as Lightning's Trainer takes them."""

    accelerator: str
    devices: Any
    count: int
    """Devices on each node."""
    num_nodes: int

    @property
    def world_size(self) -> int:
        return self.count * self.num_nodes

    @property
    def on_gpu(self) -> bool:
        return self.accelerator in ("gpu", "cuda")


def find_devices(config: TrainConfig) -> Devices:
    """Resolves `auto`: GPUs where there are any, CPU processes otherwise.

    Raises:
        UserError: the options ask for more than the machine has, or for what does not work on it.
    """
    wanted, devices = config.trainer.accelerator, config.trainer.devices
    gpus = torch.cuda.device_count()
    if wanted in ("gpu", "cuda") and not gpus:
        raise UserError(
            f"trainer.accelerator={wanted} with trainer.devices={devices} asks for GPUs, but torch "
            f"{torch.__version__} finds none; trainer.accelerator=cpu trains without them"
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
    count, highest = count_devices(devices, available)
    if wanted in ("gpu", "cuda") and max(count, highest + 1) > gpus:
        raise UserError(
            f"trainer.devices={devices} asks for more GPUs than the {gpus} that torch finds; "
            f"trainer.devices={gpus} uses all of them"
        )
    if wanted == "cpu" and devices in ("auto", -1):
        devices = 1
    check_supported(config, wanted)
    return Devices(wanted, devices, count, config.trainer.num_nodes)


def count_devices(devices: Any, available: int) -> tuple[int, int]:
    """Returns how many devices are requested, and the highest index named, or -1 if none is."""
    if devices in ("auto", -1, "-1"):
        return max(1, available), -1
    if isinstance(devices, str) and "," not in devices:
        devices = int(devices)
    if isinstance(devices, int):
        return devices, -1
    if isinstance(devices, str):
        devices = [int(index) for index in devices.split(",")]
    return len(devices), max(devices)


def check_supported(config: TrainConfig, accelerator: str) -> None:
    """Checks that accelerator, precision and strategy exist and work together.

    Raises:
        UserError: they do not.
    """
    precision = config.trainer.precision
    if accelerator not in _ACCELERATORS:
        raise UserError(
            f"trainer.accelerator={accelerator} is not one of {', '.join(_ACCELERATORS)}"
            + did_you_mean(accelerator, _ACCELERATORS)
        )
    if precision not in _PRECISIONS:
        raise UserError(
            f"trainer.precision={precision} is not one of {', '.join(_PRECISIONS)}"
            + did_you_mean(precision, _PRECISIONS)
        )
    if accelerator == "cpu" and precision in ("16-mixed", "16-true", "16"):
        raise UserError(
            f"trainer.precision={precision} needs a GPU, but this run uses the CPU; "
            "use trainer.precision=bf16-mixed"
        )
    if config.strategy.name is StrategyName.fsdp:
        _check_sharding(config, accelerator)


def _check_sharding(config: TrainConfig, accelerator: str) -> None:
    precision = config.trainer.precision
    if accelerator not in ("gpu", "cuda"):
        raise UserError(
            "strategy=fsdp shards a model's state over CUDA GPUs, but this run uses "
            f"{accelerator}, and torch finds {torch.cuda.device_count()} GPUs; strategy=ddp "
            "trains data-parallel, on CPU processes too"
        )
    if precision not in _SHARDED_PRECISIONS:
        raise UserError(
            f"trainer.precision={precision} does not work with strategy=fsdp, which supports "
            f"{', '.join(_SHARDED_PRECISIONS)}; use trainer.precision=bf16-mixed, or strategy=ddp"
        )


def with_precision(config: TrainConfig, accelerator: str) -> TrainConfig:
    """Resolves `trainer.precision=auto`: bf16-mixed if the device multiplies bf16, else 32-true."""
    if config.trainer.precision != "auto":
        return config
    precision = "bf16-mixed" if _multiplies_bf16(accelerator) else "32-true"
    return replace(config, trainer=replace(config.trainer, precision=precision))


def _multiplies_bf16(accelerator: str) -> bool:
    if accelerator in ("gpu", "cuda"):
        # A plan may be for a GPU of another machine.
        return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(False)
    capabilities: dict[str, bool] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # not in every version
    return accelerator == "cpu" and any(
        capabilities.get(name) for name in ("avx512_bf16", "amx_bf16")
    )
