"""The parts of `benchmarks.gpu`: what runs in the process of each, one result after another.

python -m benchmarks.gpu_parts PART RESULTS_FILE SETTINGS
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.contestants import Contestant, contestants
from benchmarks.gpu_batches import Settings, batches_of, config_of
from benchmarks.gpu_recipes import recipe
from bert_lightning.sizing.flops import forward_flops
from bert_lightning.sizing.memory import memory

Results = Iterator[dict[str, Any]]
ROOT = Path(__file__).parents[1]
GPU_TESTS = (
    "tests/model",
    "tests/training/test_host_waits.py",
    "tests/training/test_runs_on_gpu.py",
)
GIB = 2**30
CLOSE = {"loss": 0.01, "gradient": 0.05}
"""Relative differences from fp32 that bf16 may have."""


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


def rates(settings: Settings) -> Results:
    """Measures large products, and those of a Base and a Large model's layers and heads."""
    yield {"product": "large", "tflops": large_rate(settings)}
    tokens, masked, vocab = (256, 64, 512) if settings.small else (32_768, 4_608, 30_528)
    for hidden in (64,) if settings.small else (768, 1024):
        products = {
            "query, key and value": (tokens, hidden, 3 * hidden),
            "attention's output": (tokens, hidden, hidden),
            "feed-forward, up": (tokens, hidden, 4 * hidden),
            "feed-forward, down": (tokens, 4 * hidden, hidden),
            "gradient of feed-forward, up": (hidden, tokens, 4 * hidden),
            "vocabulary": (masked, hidden, vocab),
            "gradient of the vocabulary": (vocab, masked, hidden),
        }
        for name, shape in products.items():
            yield {"product": name, "shape": shape, "tflops": tflops(settings, *shape)}


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
        and not name.endswith((".available", ".compilation"))
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
    contestant.mark = lambda _: None  # type: ignore[method-assign]
    parts = contestant.model.modules()
    if way.compiled and not any(getattr(part, "compiled", False) for part in parts):
        raise RuntimeError("the model was not compiled: what it says above is missing")
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


def steps(row: str, settings: Settings) -> Results:
    """Measures this project's steps, eager and compiled, with the kernels and without.

    Compiled without the kernels is left to the first row, as compiling takes its time.
    """
    for way in ways() if row == "base-pairs" else ways()[:3]:
        with ExitStack() if way.kernels else without_kernels():
            yield _or_failure(lambda way=way: measured("ours-bf16", settings, row, way), way)


def hugging_face(row: str, settings: Settings) -> Results:
    """Measures Hugging Face's model, best and helped, on the same steps."""
    plain = Way(compiled=False, kernels=False)
    for name in ("hf-best", "hf-helped"):
        yield _or_failure(lambda name=name: measured(name, settings, row, plain), plain)


def _or_failure(measure: Callable[[], dict[str, Any]], way: Way) -> dict[str, Any]:
    """Returns what was measured, or the error: one way that fails leaves the others."""
    try:
        return measure()
    except Exception as error:
        return {**way._asdict(), "failed": f"{type(error).__name__}: {error}"[:2000]}
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def equivalence(settings: Settings) -> Results:
    """Compares loss and gradient of each way with those of fp32 on the CPU, without dropout."""
    for row in ("check-128", "check-512"):
        batch = batches_of(row, settings)[0][0]
        on_cpu = made("ours-fp32", settings._replace(device="cpu"), row, Way(False, False))
        expected = _gradient(on_cpu, batch)
        for way in ways():
            with ExitStack() if way.kernels else without_kernels():
                yield _or_failure(
                    lambda way=way, row=row, batch=batch, expected=expected: {
                        "row": row,
                        **way._asdict(),
                        **_differences(
                            _gradient(made("ours-bf16", settings, row, way), batch), expected
                        ),
                    },
                    way,
                )


def _gradient(contestant: Contestant, batch: Any) -> tuple[float, Tensor]:
    (part,) = contestant.prepare(batch)
    with torch.autocast(contestant.device.type, torch.bfloat16, enabled=contestant.bf16):
        loss = contestant.loss(part)
    loss.backward()
    gradients = [p.grad.flatten().float().cpu() for p in contestant.model.parameters()
                 if p.grad is not None]  # fmt: skip
    return loss.item(), torch.cat(gradients)


def _differences(ours: tuple[float, Tensor], expected: tuple[float, Tensor]) -> dict[str, Any]:
    found = {
        "loss": abs(ours[0] / expected[0] - 1),
        "gradient": ((ours[1] - expected[1]).norm() / expected[1].norm()).item(),
    }
    return {**found, "close": all(found[name] <= limit for name, limit in CLOSE.items())}


def profile(settings: Settings) -> Results:
    """Lists the kernels of a step of the first row that take most time."""
    row, way = "base-pairs", Way(compiled=False, kernels=True)
    contestant = made("ours-bf16", settings, row, way)
    prepared = contestant.prepare(batches_of(row, settings)[0][0])
    for _ in range(3):
        step(contestant, prepared)
    with torch.profiler.profile() as profiler:
        step(contestant, prepared).item()
    on_gpu = settings.device == "cuda"
    events = [
        (event.self_device_time_total if on_gpu else event.self_cpu_time_total, event)
        for event in profiler.key_averages()
        if not on_gpu or event.device_type == torch.autograd.DeviceType.CUDA
    ]
    for microseconds, event in sorted(events, key=lambda pair: -pair[0])[:40]:
        yield {"kernel": event.key[:160], "ms": microseconds / 1000, "calls": event.count}


def tests(settings: Settings) -> Results:
    """Runs the tests that need a GPU, where pytest is installed."""
    if importlib.util.find_spec("pytest") is None:
        yield {"skipped": "pytest is not installed: pip install pytest"}
        return
    chosen = ["-k", "gpu or cuda or kernel or tiles", *GPU_TESTS]
    if settings.small:
        chosen = ["tests/optim/test_muon.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    yield {"exit_code": done.returncode, "said": done.stdout.strip().splitlines()[-20:]}


PARTS: dict[str, Callable[[Settings], Results]] = {
    "rates": rates,
    "steps-base-pairs": partial(steps, "base-pairs"),
    "steps-base-128": partial(steps, "base-128"),
    "steps-large-512": partial(steps, "large-512"),
    "hf-base-pairs": partial(hugging_face, "base-pairs"),
    "hf-base-128": partial(hugging_face, "base-128"),
    "hf-large-512": partial(hugging_face, "large-512"),
    "equivalence": equivalence,
    "profile": profile,
    "recipe-tiny_8min": partial(recipe, "tiny_8min"),
    "recipe-base_gpu": partial(recipe, "base_gpu"),
    "recipe-large_gpu": partial(recipe, "large_gpu"),
    "tests": tests,
}
"""By name, the most telling first."""


def main() -> None:
    name, results, settings = sys.argv[1:]
    with Path(results).open("a", encoding="utf-8") as file:
        for result in PARTS[name](Settings(**json.loads(settings))):
            file.write(json.dumps(result) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
