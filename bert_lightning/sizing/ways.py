"""The same run at other lengths and with less memory: what each way takes, and what then fits."""

from dataclasses import dataclass, replace
from typing import Any

from bert_lightning.config import StrategyConfig, StrategyName, TrainConfig
from bert_lightning.sizing.devices import Devices, count_devices
from bert_lightning.sizing.memory import known_vocab_size, memory, widths


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


def planned_devices(config: TrainConfig) -> Devices:
    """The devices that are asked for, whether they are here or not."""
    wanted = config.trainer.accelerator
    accelerator = "gpu" if wanted == "auto" else wanted
    count, _ = count_devices(config.trainer.devices, 1)
    return Devices(accelerator, config.trainer.devices, count, config.trainer.num_nodes)


def at_other_lengths(config: TrainConfig) -> dict[str, TrainConfig]:
    """A quarter, half and twice the length, as far as there are positions, by their overrides."""
    asked, most = config.batch.max_length, config.model.max_position_embeddings
    lengths = [n for n in (asked // 4, asked // 2, asked, 2 * asked) if 16 <= n <= most]
    one_phase = "" if config.batch.phases is None else " batch.phases=null"
    return {
        f"batch.max_length={length}{one_phase}": replace(
            config, batch=replace(config.batch, max_length=length, phases=None)
        )
        for length in lengths
    }


def with_less_memory(config: TrainConfig, devices: Devices) -> dict[str, TrainConfig]:
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


def way_of(overrides: str, config: TrainConfig, usable: float) -> Way:
    devices = planned_devices(config)
    needs = memory(config, known_vocab_size(config), devices.world_size, devices.on_gpu)
    return Way(
        overrides,
        needs.state,
        needs.sequence.total,
        needs.sequence.attention_weights,
        needs.largest_micro_batch(usable),
    )
