"""What this machine computes: the rate of its matrix products, measured."""

import time
from dataclasses import dataclass, replace

import psutil
import torch

from bert_lightning.config import TrainConfig
from bert_lightning.sizing.devices import with_precision
from bert_lightning.sizing.memory import byte_widths
from bert_lightning.sizing.plan import GIB, Plan, PlanOptions

FRACTION_REACHED = 0.5
"""The fraction of that rate which a training step reaches: 0.32 to 0.76 on CPU, by the size of the
model and the precision (`benchmarks/steps.json`)."""
_ROWS = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices; the product of smaller ones is slower."""
_TIMES, _SECONDS = 4, 1.0
"""A product is repeated so often, unless it has taken so long."""


@dataclass(frozen=True)
class LocalRun:
    """A planned run on this machine instead."""

    device: str
    precision: str
    matrix_tflops: float
    """The measured TFLOP/s of large matrix products in that precision."""
    hours: float


def matrix_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """Returns the TFLOP/s of a large matrix product, the best of a few."""
    rows, taken = _ROWS[device.type], list[float]()
    a, b = (torch.ones(rows, rows, device=device, dtype=dtype) for _ in range(2))
    while len(taken) < _TIMES and sum(taken) < _SECONDS:
        since = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - since)
    return 2 * rows**3 / min(taken) / 1e12


def on_this_machine(config: TrainConfig, planned: Plan) -> LocalRun:
    """Returns how long a planned run takes on one device of this machine, by its matrix rate."""
    device, precision, tflops = _measured(config)
    tera = planned.hours * planned.tflops * planned.devices.world_size
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return LocalRun(name, precision, tflops, tera / (FRACTION_REACHED * tflops))


def filled_in(config: TrainConfig, options: PlanOptions) -> PlanOptions:
    """Returns the options with this machine's memory and rate where they state none for a CPU."""
    if config.trainer.accelerator != "cpu" or None not in (options.memory, options.tflops):
        return options
    return replace(
        options,
        memory=options.memory or psutil.virtual_memory().total / GIB,
        tflops=options.tflops or FRACTION_REACHED * _measured(config)[2],
    )


def _measured(config: TrainConfig) -> tuple[torch.device, str, float]:
    on_gpu = torch.cuda.is_available() and config.trainer.accelerator != "cpu"
    device = torch.device("cuda" if on_gpu else "cpu")
    precision = with_precision(config, "gpu" if on_gpu else "cpu").trainer.precision
    bf16 = byte_widths(precision).matmul == 2
    return device, precision, matrix_tflops(device, torch.bfloat16 if bf16 else torch.float32)
