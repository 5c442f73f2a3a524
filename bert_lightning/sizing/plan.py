"""What a run will cost, before it is started: parameters, FLOPs, memory and hours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from bert_lightning.config import ModelConfig, TrainConfig
from bert_lightning.data.batches import StepPartition
from bert_lightning.data.masking import mlm_probability_at
from bert_lightning.data.phases import Phase, entries, phase_options, phases_of
from bert_lightning.errors import UserError
from bert_lightning.sizing.devices import (
    Devices,
    check_supported,
    with_precision,
)
from bert_lightning.sizing.flops import (
    Flops,
    Parameters,
    count_parameters,
    forward_flops,
    recomputed_flops,
    training_flops,
    without_memory,
)
from bert_lightning.sizing.memory import USABLE, Memory, known_vocab_size, memory, widths
from bert_lightning.sizing.micro_batches import divide_global_batch
from bert_lightning.sizing.ways import (
    Way,
    at_other_lengths,
    planned_devices,
    way_of,
    with_less_memory,
)

GIB = 2**30
H100_MEMORY = 80.0
"""GiB."""
H100_PEAK_TFLOPS = {2: 989.0, 4: 67.0}
"""Dense, by the bytes of a number: of the H100 SXM's tensor cores in bf16 and fp16, and of its fp32
units, since torch leaves TF32 off (NVIDIA's data sheet; 64-bit runs at fp32's rate there)."""
H100_SHARE = 0.4
"""Of that peak, assumed to be reached; not measured with this project yet."""


@dataclass(frozen=True)
class PlanOptions:
    """What the options of a run do not say."""

    tokens: float | None = None
    """Real tokens to train on; None is what the run's own steps see."""
    tflops: float | None = None
    """TFLOP/s that a device reaches; None assumes a share of an H100's peak."""
    memory: float | None = None
    """GiB of a device; None is an H100's."""
    vocab_size: int | None = None
    """Rows of the embedding; None is what the options say, or BERT's 30,522."""
    fill: float = 1.0
    """Real tokens of an example, as a share of the longest; memory is planned for the longest."""

    def __post_init__(self) -> None:
        for name in ("tokens", "tflops", "memory", "vocab_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} {value:g} must be above 0 and finite")
        if not 0 < self.fill <= 1:
            raise UserError(f"--fill {self.fill:g} must be above 0 and at most 1")


@dataclass(frozen=True)
class Plan:
    """What a run costs; sizes in bytes, of one device."""

    config: TrainConfig
    """The run; its `model.vocab_size` is the one planned with."""
    devices: Devices
    parameters: Parameters
    forward_flops: Flops
    """A token."""
    training_flops: Flops
    """A token."""
    recomputed_flops: float
    """A token, that activation checkpointing adds."""
    phases: list[Phase]
    largest: Phase
    """The one that needs most memory."""
    memory: Memory
    """In that phase."""
    device_memory: float
    share: StepPartition
    """How the global batch is divided: as asked for, or so that it fits, if it can."""
    steps: int
    tokens: float
    tflops: float
    """Of a device."""
    rate_is_assumed: bool
    hours: float
    lengths: list[Way]
    """The same run at other lengths."""
    ways: list[Way]
    """As asked for, then run otherwise."""

    @property
    def micro_batch_size(self) -> int:
        """In the phase that needs most memory."""
        return self.share.micro_batch_size(self.largest.global_batch_size)

    @property
    def usable(self) -> float:
        return USABLE * self.device_memory

    @property
    def largest_micro_batch(self) -> int:
        """0 where not even one sequence fits."""
        return self.memory.largest_micro_batch(self.usable)

    @property
    def needed(self) -> float:
        """At the peak, with this micro-batch."""
        return self.memory.needed(self.micro_batch_size)

    @property
    def fits(self) -> bool:
        return self.needed <= self.usable


def plan(config: TrainConfig, options: PlanOptions) -> Plan:
    """Works out a run on CUDA GPUs, or on CPUs with `trainer.accelerator=cpu`; asks no device.

    A run that does not fit is a result, not an error.

    Raises:
        UserError: where sizes contradict each other, or something is needed that is not given.
    """
    devices = planned_devices(config)
    check_supported(config, devices.accelerator)
    config = with_precision(config, devices.accelerator)
    if not devices.on_gpu and None in (options.memory, options.tflops):
        raise UserError(
            f"trainer.accelerator={devices.accelerator}: --memory GIB and --tflops RATE have to "
            "say what a device has and reaches; only for GPUs is there something to assume"
        )
    vocab_size = options.vocab_size or known_vocab_size(config)
    config = replace(config, model=replace(config.model, vocab_size=vocab_size))
    device_memory = (options.memory or H100_MEMORY) * GIB
    usable = USABLE * device_memory
    share = divide_global_batch(config, devices, usable)
    steps = _steps(config, options)
    phases = phases_of(config.batch, steps)
    alone = [replace(config, batch=within) for within in phase_options(config.batch)]
    needs = [memory(one, vocab_size, devices.world_size, devices.on_gpu) for one in alone]
    peaks = [
        need.needed(share.micro_batch_size(phase.global_batch_size))
        for need, phase in zip(needs, phases, strict=True)
    ]
    most = peaks.index(max(peaks))
    tokens = sum(phase.pairs * phase.max_length for phase in phases) * options.fill
    whole_run = (config, vocab_size, phases, options.fill)
    forward, training = _add_up(forward_flops, *whole_run), _add_up(training_flops, *whole_run)
    recomputed = recomputed_flops(config.model, forward)

    product = widths(config.trainer.precision).product
    tflops = options.tflops or H100_SHARE * H100_PEAK_TFLOPS[min(product, 4)]
    work = training.total + recomputed
    ways = with_less_memory(alone[most], devices)
    return Plan(
        config=config,
        devices=devices,
        parameters=count_parameters(without_memory(config.model, vocab_size)),
        forward_flops=forward.times(1 / tokens),
        training_flops=training.times(1 / tokens),
        recomputed_flops=recomputed / tokens,
        phases=phases,
        largest=phases[most],
        memory=needs[most],
        device_memory=device_memory,
        share=share,
        steps=steps,
        tokens=tokens,
        tflops=tflops,
        rate_is_assumed=options.tflops is None,
        hours=work / (tflops * 1e12 * devices.world_size) / 3600,
        lengths=[way_of(*way, usable) for way in at_other_lengths(config).items()],
        ways=[way_of(*way, usable) for way in ways.items()],
    )


def _steps(config: TrainConfig, options: PlanOptions) -> int:
    if options.tokens is not None:
        phases = zip(entries(config.batch), phase_options(config.batch), strict=True)
        a_step = sum(
            entry.fraction * within.global_batch_size * within.max_length
            for entry, within in phases
        )
        return math.ceil(options.tokens / (a_step * options.fill))
    if config.trainer.max_steps == -1:
        raise UserError(
            "trainer.max_steps=-1 leaves open how much is trained on: --tokens NUMBER says it"
        )
    return config.trainer.max_steps


def _add_up(
    flops: Callable[[ModelConfig, int, np.ndarray, float], Flops],
    config: TrainConfig,
    vocab_size: int,
    phases: Sequence[Phase],
    fill: float,
) -> Flops:
    """The FLOPs of a whole run, each phase at the mean of the shares that are masked in it."""
    parts = []
    for phase in phases:
        length = phase.max_length * fill
        middle = (phase.start + phase.end) / 2 / phases[-1].end
        masked = length * mlm_probability_at(config.batch.masking, middle)
        one = flops(config.model, vocab_size, np.array([length]), masked)
        parts.append(one.times(phase.pairs))
    return reduce(Flops.plus, parts)
