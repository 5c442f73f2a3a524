"""What this machine computes and holds: the rate of its matrix products, and peak memory."""

import re
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

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
_ROWS_OF_RUN = 1024
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


def matrix_tflops(device: torch.device, dtype: torch.dtype, rows: int | None = None) -> float:
    """Returns the TFLOP/s of a large matrix product, the best of a few."""
    rows, taken = rows or _ROWS[device.type], list[float]()
    a, b = (torch.ones(rows, rows, device=device, dtype=dtype) for _ in range(2))
    while len(taken) < _TIMES and sum(taken) < _SECONDS:
        since = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - since)
    return 2 * rows**3 / min(taken) / 1e12


@cache
def rate_of_run(device: torch.device, precision: str) -> float | None:
    """Returns the matrix rate that a run compares itself with; None where none is measured.

    On CPU the matrices are small, so that it takes a few hundredths of a second.
    """
    if device.type not in _ROWS:
        return None
    dtype = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}[byte_widths(precision).matmul]
    if precision.startswith("16"):
        dtype = torch.float16
    return matrix_tflops(device, dtype, _ROWS_OF_RUN if device.type == "cpu" else None)


def peak_memory(device: torch.device | None = None) -> int:
    """Returns the most memory, in bytes, that was held so far.

    That is what torch allocated on a GPU; elsewhere, and without a device, all of this process. On
    macOS and Windows, that of the process that started it may count until it holds more itself.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(peak[1]) * 1024
    import resource

    bytes_of_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_of_unit


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
