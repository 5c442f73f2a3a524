"""What a run will cost, before it is started: parameters, FLOPs, memory and hours."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bert_lightning.config import StrategyConfig, StrategyName, TrainConfig
from bert_lightning.data.batches import Share
from bert_lightning.errors import UserError
from bert_lightning.model.cost import (
    Flops,
    Parameters,
    count_parameters,
    forward_flops,
    recomputed_flops,
    training_flops,
    without_memory,
)
from bert_lightning.training.devices import (
    Devices,
    check_supported,
    count_devices,
    divide_global_batch,
    with_precision,
)
from bert_lightning.training.memory import USABLE, Memory, known_vocab_size, memory, widths

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
class Way:
    """One way to run it, and what that does to memory."""

    overrides: str
    """What is added to the command line."""
    state: float
    """Bytes that are there whatever the batch."""
    sequence: float
    """Bytes that a sequence of full length adds."""
    attention_weights: float
    """Of these, those that grow with the square of the length."""
    largest_micro_batch: int
    """0 where not even one sequence fits."""


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
    memory: Memory
    device_memory: float
    share: Share
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
    def usable(self) -> float:
        return USABLE * self.device_memory

    @property
    def largest_micro_batch(self) -> int:
        """0 where not even one sequence fits."""
        return self.memory.largest_micro_batch(self.usable)

    @property
    def needed(self) -> float:
        """At the peak, with this micro-batch."""
        return self.memory.needed(self.share.micro_batch_size)

    @property
    def fits(self) -> bool:
        return self.needed <= self.usable


def plan(config: TrainConfig, options: PlanOptions) -> Plan:
    """Works out a run on CUDA GPUs, or on CPUs with `trainer.accelerator=cpu`; asks no device.

    A run that does not fit is a result, not an error.

    Raises:
        UserError: where sizes contradict each other, or something is needed that is not given.
    """
    devices = _devices(config)
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
    length = config.data.max_length * options.fill
    masking = config.data.masking
    ends = [masking.mask_probability, masking.mask_probability_end or masking.mask_probability]
    sequence = (config.model, vocab_size, np.array([length]), length * sum(ends) / 2)
    forward, training = forward_flops(*sequence), training_flops(*sequence)
    recomputed = recomputed_flops(config.model, forward)

    step_tokens = config.data.global_batch_size * length
    if options.tokens is None and config.trainer.max_steps == -1:
        raise UserError(
            "trainer.max_steps=-1 leaves open how much is trained on: --tokens NUMBER says it"
        )
    steps = math.ceil(options.tokens / step_tokens) if options.tokens else config.trainer.max_steps
    product = widths(config.trainer.precision).product
    tflops = options.tflops or H100_SHARE * H100_PEAK_TFLOPS[min(product, 4)]
    work = steps * config.data.global_batch_size * (training.total + recomputed)
    return Plan(
        config=config,
        devices=devices,
        parameters=count_parameters(without_memory(config.model, vocab_size)),
        forward_flops=forward.times(1 / length),
        training_flops=training.times(1 / length),
        recomputed_flops=recomputed / length,
        memory=memory(config, vocab_size, devices.world_size, devices.on_gpu),
        device_memory=device_memory,
        share=share,
        steps=steps,
        tokens=steps * step_tokens,
        tflops=tflops,
        rate_is_assumed=options.tflops is None,
        hours=work / (tflops * 1e12 * devices.world_size) / 3600,
        lengths=[_way(*way, usable) for way in _at_other_lengths(config).items()],
        ways=[_way(*way, usable) for way in _with_less_memory(config, devices).items()],
    )


def _devices(config: TrainConfig) -> Devices:
    wanted = config.trainer.accelerator
    accelerator = "gpu" if wanted == "auto" else wanted
    count, _ = count_devices(config.trainer.devices, 1)
    return Devices(accelerator, config.trainer.devices, count, config.trainer.num_nodes)


def _at_other_lengths(config: TrainConfig) -> dict[str, TrainConfig]:
    """A quarter, half and twice the length, as far as there are positions, by their overrides."""
    asked, most = config.data.max_length, config.model.max_position_embeddings
    lengths = [n for n in (asked // 4, asked // 2, asked, 2 * asked) if 16 <= n <= most]
    return {
        f"data.max_length={length}": replace(config, data=replace(config.data, max_length=length))
        for length in lengths
    }


def _with_less_memory(config: TrainConfig, devices: Devices) -> dict[str, TrainConfig]:
    """As it is, with what saves memory, each alone, and with all of it, by their overrides."""
    ways, together = {"": config}, config
    if widths(config.trainer.precision).product > 2:
        trainer = replace(config.trainer, precision="bf16-mixed")
        ways["trainer.precision=bf16-mixed"] = replace(config, trainer=trainer)
        together = replace(together, trainer=trainer)
    if not config.model.activation_checkpointing:
        model = replace(config.model, activation_checkpointing=True)
        ways["model.activation_checkpointing=true"] = replace(config, model=model)
        together = replace(together, model=model)
    if devices.on_gpu and config.strategy.name is not StrategyName.fsdp:
        count = devices.devices if devices.world_size > 1 else 8
        name = "strategy=fsdp" + (f" trainer.devices={count}" if devices.world_size == 1 else "")
        sharded = StrategyConfig(StrategyName.fsdp)
        ways[name] = _on(count, replace(config, strategy=sharded))
        together = _on(count, replace(together, strategy=sharded))
    if len(ways) > 2:
        ways[" ".join(name for name in ways if name)] = together
    return ways


def _on(devices: Any, config: TrainConfig) -> TrainConfig:
    return replace(config, trainer=replace(config.trainer, devices=devices))


def _way(overrides: str, config: TrainConfig, usable: float) -> Way:
    devices = _devices(config)
    needs = memory(config, known_vocab_size(config), devices.world_size, devices.on_gpu)
    return Way(
        overrides,
        needs.state,
        needs.sequence.total,
        needs.sequence.attention_weights,
        needs.largest_micro_batch(usable),
    )
