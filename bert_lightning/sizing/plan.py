"""The cost of a run before it starts: parameters, FLOPs, memory and hours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bert_lightning.config import TrainConfig
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.masking import mlm_probability_at
from bert_lightning.data.phases import Phase, entries, phase_options, phases_of
from bert_lightning.errors import UserError
from bert_lightning.sizing.devices import Devices, check_supported, count_devices, with_precision
from bert_lightning.sizing.flops import (
    Flops,
    Parameters,
    count_parameters,
    forward_flops,
    meta_model,
    recomputed_flops,
)
from bert_lightning.sizing.memory import USABLE, Memory, byte_widths, known_vocab_size, memory
from bert_lightning.sizing.micro_batches import divide_global_batch
from bert_lightning.sizing.savings import with_savings

GIB = 2**30
H100_GIB = 80.0
H100_PEAK_TFLOPS = {2: 989.0, 4: 67.0}
"""The H100 SXM's dense peak by the bytes of a value: of its tensor cores in bf16 and fp16, and of
its fp32 units, because torch leaves TF32 off (NVIDIA's data sheet; fp64 has fp32's rate there)."""
ASSUMED_UTILIZATION = 0.4
"""The fraction of that peak that a run is assumed to reach; not measured with this project."""


@dataclass(frozen=True)
class PlanOptions:
    """What a plan is told beside the options of the run."""

    tokens: float | None = None
    """Real tokens to train on; None means those of the run's own steps."""
    tflops: float | None = None
    """TFLOP/s that a device reaches; None assumes a fraction of an H100's peak."""
    memory: float | None = None
    """GiB of a device; None means an H100's."""
    vocab_size: int | None = None
    """Rows of the embedding; None means what the options state, or BERT's 30,522."""
    fill: float = 1.0
    """Real tokens of an example as a fraction of `max_length`; memory is planned for 1."""

    def __post_init__(self) -> None:
        for name in ("tokens", "tflops", "memory", "vocab_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} {value:g} must be above 0 and finite")
        if not 0 < self.fill <= 1:
            raise UserError(f"--fill {self.fill:g} must be above 0 and at most 1")


@dataclass(frozen=True)
class Plan:
    """The cost of a run: sizes in bytes of one device, FLOPs of one token."""

    config: TrainConfig
    """The run; its `model.vocab_size` is the one planned with."""
    devices: Devices
    parameters: Parameters
    training_flops: Flops
    recomputed_flops: float
    """FLOPs that activation checkpointing adds."""
    phases: list[Phase]
    largest: Phase
    """The phase that needs most memory."""
    memory: Memory
    """In that phase."""
    device_memory: float
    partition: StepPartition
    """Of each step: as the options state, or so that it fits if it can."""
    steps: int
    tokens: float
    """Real tokens of the whole run."""
    tflops: float
    """Of a device."""
    rate_is_assumed: bool
    hours: float
    micro_batch_size: int
    """In the phase that needs most memory."""
    largest_micro_batch: int
    """The most sequences that fit there; 0 if not even one does."""
    peak: float
    usable: float
    """The bytes of a device that the run may use."""
    fits: bool


def plan(config: TrainConfig, options: PlanOptions) -> Plan:
    """Plans a run on CUDA GPUs, or on CPUs with `trainer.accelerator=cpu`; asks no device.

    A run that does not fit is a result, not an error.

    Raises:
        UserError: sizes contradict each other, or a necessary option is missing.
    """
    trainer = config.trainer
    accelerator = "gpu" if trainer.accelerator == "auto" else trainer.accelerator
    count, _ = count_devices(trainer.devices, 1)
    devices = Devices(accelerator, trainer.devices, count, trainer.num_nodes)
    check_supported(config, accelerator)
    config = with_precision(config, accelerator)
    if not devices.on_gpu and None in (options.memory, options.tflops):
        raise UserError(
            f"trainer.accelerator={accelerator} needs --memory GIB and --tflops RATE of a "
            "device: only for GPUs there are values to assume"
        )
    vocab_size = options.vocab_size or known_vocab_size(config)
    config = replace(config, model=replace(config.model, vocab_size=vocab_size))
    device_memory = (options.memory or H100_GIB) * GIB
    usable = USABLE * device_memory
    config = with_savings(config, devices, vocab_size, usable)
    partition = divide_global_batch(config, devices, vocab_size, usable)
    steps = _steps(config, options)
    phases = phases_of(config.batch, steps)
    memories = [
        memory(replace(config, batch=batch), vocab_size, devices.world_size, devices.on_gpu)
        for batch in phase_options(config.batch)
    ]
    sizes = [partition.micro_batch_size(phase.global_batch_size) for phase in phases]
    peaks = [need.peak(size) for need, size in zip(memories, sizes, strict=True)]
    most = peaks.index(max(peaks))
    tokens = sum(phase.pairs * phase.max_length for phase in phases) * options.fill
    forward = _forward_flops(config, vocab_size, phases, options.fill)
    recomputed = recomputed_flops(config.model, forward)
    matmul = byte_widths(config.trainer.precision).matmul
    tflops = options.tflops or ASSUMED_UTILIZATION * H100_PEAK_TFLOPS[min(matmul, 4)]
    return Plan(
        config=config,
        devices=devices,
        parameters=count_parameters(meta_model(config.model, vocab_size)),
        training_flops=forward.times(3 / tokens),
        recomputed_flops=recomputed / tokens,
        phases=phases,
        largest=phases[most],
        memory=memories[most],
        device_memory=device_memory,
        partition=partition,
        steps=steps,
        tokens=tokens,
        tflops=tflops,
        rate_is_assumed=options.tflops is None,
        hours=(3 * forward.total + recomputed) / (tflops * 1e12 * devices.world_size) / 3600,
        micro_batch_size=sizes[most],
        largest_micro_batch=memories[most].largest_micro_batch(usable),
        peak=peaks[most],
        usable=usable,
        fits=peaks[most] <= usable,
    )


def _steps(config: TrainConfig, options: PlanOptions) -> int:
    if options.tokens is not None:
        phases = zip(entries(config.batch), phase_options(config.batch), strict=True)
        tokens_per_step = sum(
            entry.fraction * batch.global_batch_size * batch.max_length for entry, batch in phases
        )
        return math.ceil(options.tokens / (tokens_per_step * options.fill))
    if config.most_steps is None:
        raise UserError(
            "trainer.max_steps does not say how long the run is: add --tokens NUMBER, or set it"
        )
    return config.most_steps


def _forward_flops(
    config: TrainConfig, vocab_size: int, phases: Sequence[Phase], fill: float
) -> Flops:
    """Returns the forward FLOPs of a whole run; the masked fraction of a phase is its mean."""
    parts = []
    for phase in phases:
        length = phase.max_length * fill
        middle = (phase.start + phase.end) / 2 / phases[-1].end
        masked = length * mlm_probability_at(config.batch.masking, middle)
        words = config.objective.predicted_words(vocab_size)
        one = forward_flops(config.model, words, np.array([length]), masked)
        parts.append(one.times(phase.pairs))
    return Flops(*(sum(part) for part in zip(*parts, strict=True)))
