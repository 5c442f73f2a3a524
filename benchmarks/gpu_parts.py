"""The parts of `benchmarks.gpu`: what runs in the process of each, one result after another.

python -m benchmarks.gpu_parts PART RESULTS_FILE SETTINGS
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._C._autograd import DeviceType

from benchmarks.gpu_batches import Settings, batches_of
from benchmarks.gpu_recipes import recipe
from benchmarks.gpu_steps import (
    Way,
    large_rate,
    made,
    measured,
    step,
    tflops,
    ways,
    without_kernels,
)

Results = Iterator[dict[str, Any]]
ROOT = Path(__file__).parents[1]
GPU_TESTS = (
    "tests/model/test_model_on_gpu.py",
    "tests/training/test_runs_on_gpu.py",
    "tests/training/test_host_waits.py",
    "tests/model/test_attention_paths.py",
    "tests/model/test_attention_tiles.py",
    "tests/model/test_cross_entropy_kernel.py",
    "tests/model/test_kernel_trial.py",
    "tests/model/test_compilation.py",
)
CLOSE = {"loss": 0.01, "gradient": 0.05}
"""Relative differences from fp32 that bf16 may have."""


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


def steps(row: str, settings: Settings) -> Results:
    """Measures this project's steps, eager and compiled, with the kernels and without.

    Compiled without the kernels is left to the first row, as compiling takes its time.
    """
    for way in ways() if row == "base-pairs" else ways()[:3]:
        with ExitStack() if way.kernels else without_kernels():
            yield _or_failure(partial(measured, "ours-bf16", settings, row, way), way)


def hugging_face(row: str, settings: Settings) -> Results:
    """Measures Hugging Face's model, best and helped, on the same steps."""
    plain = Way(compiled=False, kernels=False)
    for name in ("hf-best", "hf-helped"):
        yield _or_failure(partial(measured, name, settings, row, plain), plain)


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
    on_cpu = settings._replace(device="cpu")
    for row in ("check-128", "check-512"):
        expected = _gradient("ours-fp32", on_cpu, row, Way(compiled=False, kernels=False))
        for way in ways():
            with ExitStack() if way.kernels else without_kernels():
                yield {"row": row} | _or_failure(
                    partial(_compared, expected, settings, row, way), way
                )


def _compared(
    expected: tuple[float, Tensor], settings: Settings, row: str, way: Way
) -> dict[str, Any]:
    return {**way._asdict(), **_differences(_gradient("ours-bf16", settings, row, way), expected)}


def _gradient(name: str, settings: Settings, row: str, way: Way) -> tuple[float, Tensor]:
    """Returns the loss of a row's first batch, and its gradient in one vector."""
    contestant = made(name, settings, row, way)
    (part,) = contestant.prepare(batches_of(row, settings)[0][0])
    with torch.autocast(contestant.device.type, torch.bfloat16, enabled=contestant.bf16):
        loss = contestant.loss(part)
    loss.backward()
    gradients = [weight.grad for weight in contestant.model.parameters() if weight.grad is not None]
    return loss.item(), torch.cat([gradient.flatten().float().cpu() for gradient in gradients])


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
        if not on_gpu or event.device_type == DeviceType.CUDA
    ]
    for microseconds, event in sorted(events, key=lambda pair: -pair[0])[:40]:
        yield {"kernel": event.key[:160], "ms": microseconds / 1000, "calls": event.count}


def tests(settings: Settings) -> Results:
    """Runs the tests that need a GPU, file by file, where pytest is installed."""
    if importlib.util.find_spec("pytest") is None:
        yield {"skipped": "pytest is not installed: pip install pytest"}
        return
    for path in ("tests/optim/test_muon.py",) if settings.small else GPU_TESTS:
        chosen = [] if settings.small else ["-k", "gpu or cuda or kernel or tiles"]
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *chosen, path]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
        said = done.stdout.strip().splitlines()
        yield {"file": path, "exit_code": done.returncode, "said": said[-20:]}


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
