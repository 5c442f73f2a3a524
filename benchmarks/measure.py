"""Measures contestants in turn, round by round, so that what disturbs one disturbs all."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from torch._C._autograd import DeviceType
from torch.profiler import profile

from benchmarks.contestants import Contestant, contestants
from bert_lightning.batch import PretrainBatch
from bert_lightning.config import TrainConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import UserError
from bert_lightning.runs.allocator import keep_freed_memory
from bert_lightning.sizing.flops import forward_flops
from bert_lightning.sizing.machine import matrix_tflops, peak_memory

_PAUSE = {"cpu": 5.0, "cuda": 0.2}
"""Seconds before each turn, in which the kernel finishes the last one's work, such as taking back
gigabytes of memory. On a GPU every process keeps its memory."""


@dataclass(frozen=True)
class Measured:
    """The measurements of one contestant; every list has one entry per round."""

    name: str
    losses: list[float]
    """Joint loss of each step, in nats."""
    seconds: list[float]
    """Step time of each round."""
    pairs_per_second: float
    """The median over the steps, as in all rates that follow."""
    tokens_per_second: float
    """Of real tokens."""
    fraction_of_matrix_rate: float
    """Useful FLOP/s, divided by the rate of a large product in the same precision and round."""
    parts: dict[str, float]
    """The fraction of the step time that each part takes."""
    operations: dict[str, float]
    """The fraction that each of torch's operations takes of one extra step, if at least 1 %.

    It is empty where torch's profiler has no times.
    """
    peak_memory_mib: int
    """The peak of its process, less the memory it held before the first step."""


@dataclass(frozen=True)
class Result:
    """The measurements of all contestants on the same steps."""

    device: str
    pairs: int
    tokens: list[int]
    """Real tokens of each step."""
    useful_gflop: list[float]
    """Of each step; padding is not useful."""
    matrix_gflops: dict[str, float]
    """Median rate of a large product, in GFLOP/s, by precision."""
    measured: list[Measured]


def steps_of(config: TrainConfig, count: int) -> tuple[list[PretrainBatch], int]:
    """Returns the first global batches of a run in one phase, and its vocabulary size."""
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
    partition = StepPartition(rank=0, world_size=1, accumulation=1)
    options = replace(config.batch, phases=None)
    batches = TrainingBatches(corpus, options, config.drawn_seed, partition, count)
    return [batches[step] for step in range(count)], corpus.tokenizer.get_vocab_size()


def measure(config: TrainConfig, names: list[str], rounds: int, device: torch.device) -> Result:
    """Takes `rounds` timed steps with each contestant, in turn, each after one that is not timed.

    Each has its own process, which sleeps while the others work, and so its own memory allocator
    and its own peak memory.
    """
    batches, vocab_size = steps_of(config, rounds)
    context = get_context("spawn")
    pipes: list[Connection] = []
    for name in names:
        ours, theirs = context.Pipe()
        args = (theirs, config, name, rounds, device)
        context.Process(target=_work, args=args, daemon=True).start()
        theirs.close()  # so that the end of its process is the end of the pipe
        pipes.append(ours)
    for pipe, name in zip(pipes, names, strict=True):
        assert answer(pipe, name) == "ready"
    timed: list[list[tuple[float, float]]] = [[] for _ in names]
    rates: dict[str, list[float]] = {"bf16": [], "fp32": []}
    for number in range(rounds):
        for precision, rate in _matrix_rates(device):
            rates[precision].append(rate)
        for pipe, steps, name in zip(pipes, timed, names, strict=True):
            time.sleep(_PAUSE[device.type])
            pipe.send(number)
            steps.append(answer(pipe, name))
    model = config.model, vocab_size
    flops = [
        forward_flops(*model, batch.sequences.lengths, len(batch.masked_labels)).times(3).total
        for batch in batches
    ]
    tokens = [len(batch.sequences.token_ids) for batch in batches]
    pairs = config.batch.global_batch_size
    measured = []
    for pipe, steps, name in zip(pipes, timed, names, strict=True):
        pipe.send(None)
        about: _About = answer(pipe, name)
        beside = rates["bf16" if about.bf16 else "fp32"]
        measured.append(_summary(about, steps, pairs, tokens, flops, beside))
    return Result(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        pairs=pairs,
        tokens=tokens,
        useful_gflop=[round(value / 1e9, 2) for value in flops],
        matrix_gflops={name: round(statistics.median(all_)) for name, all_ in rates.items()},
        measured=measured,
    )


def answer(pipe: Connection, name: str) -> Any:
    """Returns the next message of a contestant.

    Raises:
        UserError: its process ended, for example because the memory was too small.
    """
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        raise UserError(
            f"the process of {name} ended before it answered: what it wrote is above, and without "
            "a word it was killed, as for too little memory; --only takes the other contestants, "
            "and a smaller batch.global_batch_size needs less"
        ) from None


class _About(NamedTuple):
    """The last message of a contestant's process."""

    name: str
    bf16: bool
    parts: dict[str, float]
    operations: dict[str, float]
    peak_memory_mib: float


def _work(
    pipe: Connection, config: TrainConfig, name: str, steps: int, device: torch.device
) -> None:
    """Runs a contestant's process: takes each step whose number arrives, and sends its time."""
    batches, vocab_size = steps_of(config, steps)
    contestant = contestants(config, vocab_size, device)[name]()
    if contestant.keeps_freed_memory and device.type == "cpu":
        keep_freed_memory()
    before = peak_memory()
    taken: dict[str, float] = {}
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        parts = contestant.prepare(batches[number])
        torch.manual_seed(number)
        contestant.step(parts)  # in training a step follows a step, not a sleep
        contestant.seconds.clear()
        since = time.perf_counter()
        loss = contestant.step(parts)
        pipe.send((loss, time.perf_counter() - since))
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the others need it
        for part, seconds in contestant.seconds.items():
            taken[part] = taken.get(part, 0.0) + seconds
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        peak = (peak_memory() - before) / 2**20
    operations = _operations(contestant, batches[0])
    pipe.send(_About(contestant.name, contestant.bf16, taken, operations, peak))


def _operations(contestant: Contestant, batch: PretrainBatch) -> dict[str, float]:
    parts = contestant.prepare(batch)
    with profile() as profiler:
        contestant.step(parts)
    on_gpu = contestant.device.type == "cuda"
    times = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CPU  # a GPU's kernels are part of what started them
    }
    total = sum(times.values())
    found = {
        name: round(time / total, 3) for name, time in times.items() if time >= total / 100 > 0
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _summary(
    about: _About, steps: list[tuple[float, float]], pairs: int, tokens: list[int],
    flops: list[float], rate: list[float],
) -> Measured:  # fmt: skip
    losses, seconds = zip(*steps, strict=True)
    fractions = [f / s / (r * 1e9) for f, s, r in zip(flops, seconds, rate, strict=True)]
    total = sum(about.parts.values())
    return Measured(
        name=about.name,
        losses=[round(loss, 4) for loss in losses],
        seconds=[round(second, 4) for second in seconds],
        pairs_per_second=round(statistics.median(pairs / second for second in seconds), 1),
        tokens_per_second=round(
            statistics.median(t / s for t, s in zip(tokens, seconds, strict=True))
        ),
        fraction_of_matrix_rate=round(statistics.median(fractions), 3),
        parts={name: round(part / total, 3) for name, part in about.parts.items()},
        operations=about.operations,
        peak_memory_mib=round(about.peak_memory_mib),
    )


def _matrix_rates(device: torch.device) -> Iterator[tuple[str, float]]:
    """Yields the GFLOP/s of a large matrix product in each precision, the best of a few."""
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        yield precision, 1000 * matrix_tflops(device, dtype)
