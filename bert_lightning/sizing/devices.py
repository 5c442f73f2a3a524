"""The devices that a run uses, and the precision in which they compute."""

import logging
import os
from dataclasses import dataclass, replace
from typing import Any

import torch

from bert_lightning.config import AnyConfig, RunConfig, StrategyName
from bert_lightning.config.trainer import SHARDED_PRECISIONS
from bert_lightning.errors import UserError
from bert_lightning.sizing.launcher import RAY

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Devices:
    """The devices of a run, as Lightning's Trainer takes them."""

    accelerator: str
    devices: Any
    count: int
    """Devices on each node; under Ray, on this one."""
    num_nodes: int
    workers: int | None = None
    """Those of Ray in all, which may divide unequally over the nodes."""

    @property
    def world_size(self) -> int:
        return self.workers or self.count * self.num_nodes

    @property
    def on_gpu(self) -> bool:
        return self.accelerator in ("gpu", "cuda")


def find_devices(config: RunConfig) -> Devices:
    """Resolves `auto` to GPUs if there are any; a UserError if the options cannot work here."""
    wanted, devices = config.trainer.accelerator, config.trainer.devices
    if (given := os.environ.get(RAY)) is not None:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        check_supported(config, given)
        return Devices(given, local, local, 1, config.launcher.workers)
    gpus = torch.cuda.device_count()
    if wanted in ("gpu", "cuda") and not gpus:
        raise UserError(
            f"trainer.accelerator={wanted} with trainer.devices={devices} asks for GPUs, but torch "
            f"{torch.__version__} finds none; trainer.accelerator=cpu trains without them"
        )
    if wanted == "auto":
        wanted = "gpu" if gpus else "cpu"
        if not gpus and torch.backends.mps.is_available():
            _log.info(
                "this machine has an Apple GPU, on which this project was never tried: training on "
                "the CPU; trainer.accelerator=mps tries the GPU, so compare the first losses"
            )
    count, highest = count_devices(devices, gpus if wanted in ("gpu", "cuda") else 1)
    if wanted in ("gpu", "cuda") and max(count, highest + 1) > gpus:
        raise UserError(
            f"trainer.devices={devices} asks for more GPUs than the {gpus} that torch finds; "
            f"trainer.devices={gpus} uses all of them"
        )
    if wanted == "cpu" and highest >= 0:
        raise UserError(
            f"trainer.devices={devices} names devices by their index, and CPU processes have none: "
            f"trainer.devices={count} starts as many"
        )
    if wanted == "mps":
        _check_mps(devices, count)
    if wanted == "cpu" and devices in ("auto", -1, "-1"):
        devices = 1
    check_supported(config, wanted)
    return Devices(wanted, devices, count, config.trainer.num_nodes)


def count_devices(devices: Any, available: int) -> tuple[int, int]:
    """Returns how many devices are requested, and the highest index named, or else -1."""
    if devices in ("auto", -1, "-1"):
        return max(1, available), -1
    if isinstance(devices, int) or (isinstance(devices, str) and "," not in devices):
        return int(devices), -1
    indices = devices.split(",") if isinstance(devices, str) else devices
    return len(indices), max(map(int, indices))


def _check_mps(devices: Any, count: int) -> None:
    if not torch.backends.mps.is_available():
        raise UserError(
            f"trainer.accelerator=mps asks for an Apple GPU, but torch {torch.__version__} finds "
            "none; trainer.accelerator=cpu trains without it"
        )
    if count > 1:
        raise UserError(
            f"trainer.devices={devices} asks for {count} Apple GPUs, but a machine has one: use "
            "trainer.devices=1, or trainer.accelerator=cpu for several processes"
        )
    if os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
        _log.warning("PYTORCH_ENABLE_MPS_FALLBACK=1: what the Apple GPU lacks runs on the CPU")


def check_supported(config: RunConfig, accelerator: str) -> None:
    """Raises a UserError unless accelerator, precision and strategy work together."""
    precision = config.trainer.precision
    if accelerator == "cpu" and precision in ("16-mixed", "16-true", "16"):
        raise UserError(
            f"trainer.precision={precision} needs a GPU, but this run uses the CPU; "
            "use trainer.precision=bf16-mixed"
        )
    if accelerator == "mps" and precision in ("64-true", "64"):
        raise UserError(
            f"trainer.precision={precision} does not exist on Apple GPUs, which have no 64-bit "
            "numbers: use trainer.precision=32-true, or trainer.accelerator=cpu"
        )
    if config.strategy.name is not StrategyName.fsdp:
        return
    if accelerator not in ("gpu", "cuda"):
        raise UserError(
            "strategy=fsdp shards a model's state over CUDA GPUs, but this run uses "
            f"{accelerator}, and torch finds {torch.cuda.device_count()} GPUs; strategy=ddp "
            "trains data-parallel, on CPU processes too"
        )
    if precision not in SHARDED_PRECISIONS:
        raise UserError(
            f"trainer.precision={precision} does not work with strategy=fsdp, which supports "
            f"{', '.join(SHARDED_PRECISIONS)}; use trainer.precision=bf16-mixed, or strategy=ddp"
        )


def with_precision(config: AnyConfig, accelerator: str) -> AnyConfig:
    """Resolves `trainer.precision=auto`: bf16-mixed if the device multiplies bf16, else 32-true."""
    if config.trainer.precision != "auto":
        return config
    if accelerator in ("gpu", "cuda"):  # which a plan may ask for on a machine without one
        bf16 = not torch.cuda.is_available() or torch.cuda.is_bf16_supported(False)
    else:
        # Not every version of torch has them.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        bf16 = accelerator == "cpu" and any(map(capabilities.get, ("avx512_bf16", "amx_bf16")))
    precision = "bf16-mixed" if bf16 else "32-true"
    return replace(config, trainer=replace(config.trainer, precision=precision))
