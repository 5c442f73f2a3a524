"""How the parts of `benchmarks.gpu` measure: products, and steps that wait for no GPU."""

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.contestants import Contestant, contestants
from benchmarks.gpu_batches import Settings, batches_of, config_of
from bert_lightning.sizing.flops import forward_flops
from bert_lightning.sizing.memory import memory

GIB = 2**30


def timed(device: torch.device, call: Callable[[], object], times: int) -> float:
    """Returns the mean seconds of a call; on a GPU by its own clock, which waits for no step."""
    if device.type != "cuda":
        since = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - since) / times
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()
    for _ in range(times):
        call()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1000 / times


def tflops(settings: Settings, rows: int, inner: int, columns: int) -> float:
    """Returns the mean TFLOP/s of 50 warm products `(rows, inner) @ (inner, columns)` in bf16."""
    device = torch.device(settings.device)
    a = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
    b = torch.randn(inner, columns, device=device, dtype=torch.bfloat16)
    call, times = partial(torch.mm, a, b), 2 if settings.small else 50
    timed(device, call, times)
    return 2 * rows * inner * columns / timed(device, call, times) / 1e12


def large_rate(settings: Settings) -> float:
    """Returns the rate of large products, which fractions of a step are of."""
    return tflops(settings, *[256 if settings.small else 8192] * 3)


class Way(NamedTuple):
    """A way to take the same steps."""

    compiled: bool
    kernels: bool
    """Whether Triton's kernels run; without them plain PyTorch or torch's kernels do the same."""


def ways() -> list[Way]:
    """Returns all ways, the most telling first; without kernels in the model, two of them."""
    kernels = [True, False] if switches() else [True]
    return [Way(compiled, on) for on in kernels for compiled in (False, True)]


def switches() -> list[str]:
    """Returns where the model asks whether Triton's kernels run: a name for each of its pieces."""
    return [
        f"{name}.triton_runs"
        for name, module in [*sys.modules.items()]
        if name.startswith("bert_lightning.model.")
        and not name.endswith((".available", ".compilation", ".trial"))
        and hasattr(module, "triton_runs")
    ]


def without_kernels() -> ExitStack:
    """A context in which all pieces take the way without Triton."""
    stack = ExitStack()
    for name in switches():
        stack.enter_context(patch(name, lambda *_: False))
    return stack


def step(contestant: Contestant, parts: list[Any]) -> Tensor:
    """Takes an optimizer step without waiting for it; returns its loss on the device."""
    contestant.optimizer.zero_grad()
    losses = []
    for part in parts:
        with torch.autocast(contestant.device.type, torch.bfloat16, enabled=contestant.bf16):
            loss = contestant.loss(part)
        loss.backward()
        losses.append(loss.detach())
    contestant.optimizer.step()
    return torch.stack(losses).sum()


def made(name: str, settings: Settings, row: str, way: Way) -> Contestant:
    """Returns a contestant of a row that does not synchronize between the parts of a step.

    Raises:
        RuntimeError: it was to be compiled, and was not, as without a compiler.
    """
    torch.compiler.reset()
    config, (_, vocab_size) = config_of(row, settings), batches_of(row, settings)
    config = replace(config, model=replace(config.model, compile=way.compiled))
    contestant = contestants(config, vocab_size, torch.device(settings.device))[name]()
    contestant.mark = lambda _: None  # type: ignore[method-assign, assignment]
    parts = contestant.model.modules()
    if way.compiled and not any(getattr(part, "compiled", False) for part in parts):
        raise RuntimeError("the model was not compiled, as where no compiler is installed")
    return contestant


def measured(name: str, settings: Settings, row: str, way: Way) -> dict[str, Any]:
    """Measures 20 steps on four batches in turn."""
    device, times = torch.device(settings.device), 2 if settings.small else 20
    config, (batches, vocab_size) = config_of(row, settings), batches_of(row, settings)
    contestant = made(name, settings, row, way)
    prepared = [[_with_labels(part) for part in contestant.prepare(batch)] for batch in batches]
    torch.manual_seed(0)
    first = step(contestant, prepared[0]).item()
    turns = iter(range(10**6))

    def take() -> None:
        step(contestant, prepared[next(turns) % len(prepared)])

    since = time.perf_counter()
    for _ in range(2 * len(prepared)):  # torch compiles again for a second shape
        take()
    warm, rate = timed(device, take, 1), large_rate(settings)
    warmed = time.perf_counter() - since
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = timed(device, take, times)
    rate = statistics.mean([rate, large_rate(settings)])
    flops = statistics.mean(
        3 * forward_flops(config.model, vocab_size, b.sequences.lengths, len(b.masked_labels)).total
        for b in batches
    )
    tokens = statistics.mean(len(batch.sequences.token_ids) for batch in batches)
    pairs = config.batch.global_batch_size
    planned = memory(config, vocab_size, 1, on_gpu=True).peak(pairs)
    return {
        "row": row,
        "contestant": contestant.name,
        **way._asdict(),
        "step_ms": 1000 * seconds,
        "last_warm_step_ms": 1000 * warm,
        "warmup_seconds": warmed,
        "pairs_per_second": pairs / seconds,
        "tokens_per_second": tokens / seconds,
        "tflops": flops / seconds / 1e12,
        "matrix_tflops": rate,
        "fraction_of_matrix_rate": flops / seconds / 1e12 / rate,
        "first_loss": first,
        "peak_memory_gib": torch.cuda.max_memory_allocated() / GIB
        if device.type == "cuda"
        else None,
        "planned_memory_gib": planned / GIB,
        "lengths": "real" if settings.text and row == "base-pairs" else "made up",
    }


def _with_labels(part: Any) -> Any:
    """Makes the labels of a padded part beforehand, as making them waits for the GPU."""
    if hasattr(part, "labels") and callable(part.labels):
        labels = part.labels()
        part = type("Ready", (type(part),), {"labels": lambda _: labels})(*part)
    return part
