"""What saves memory is chosen on GPUs that need it, and nowhere else."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from bert_lightning.cli import app as cli
from bert_lightning.config import StrategyName, TrainConfig
from bert_lightning.sizing.devices import Devices
from bert_lightning.sizing.memory import USABLE, memory
from bert_lightning.sizing.plan import GIB, PlanOptions, plan
from bert_lightning.sizing.savings import ENOUGH_TOKENS, with_savings

CONF = Path(__file__).parents[2] / "conf"
VOCAB = 30_522
GPUS, GPU, CPU = Devices("gpu", 8, 8, 1), Devices("gpu", 1, 1, 1), Devices("cpu", 8, 8, 1)


@pytest.fixture(scope="module")
def large() -> TrainConfig:
    return cli.compose(CONF, ["run_dir=.", "experiment=large_gpu", "trainer.devices=8"])


def chosen(config: TrainConfig, devices: Devices, gib: float) -> tuple[bool | None, StrategyName]:
    found = with_savings(config, devices, VOCAB, USABLE * gib * GIB)
    return found.model.activation_checkpointing, found.strategy.name


def test_bert_large_needs_neither_on_80_gb_and_both_on_little(
    large: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = plan(large, PlanOptions(memory=80))
    assert (made.config.model.activation_checkpointing, made.recomputed_flops) == (False, 0)
    assert made.config.strategy.name is StrategyName.auto
    assert made.fits
    assert not caplog.records
    assert chosen(large, GPUS, 12) == (True, StrategyName.auto)
    assert "activation_checkpointing=true strategy=auto, as without them" in caplog.text
    assert chosen(large, GPUS, 6) == (True, StrategyName.fsdp)
    assert chosen(large, GPU, 6) == (True, StrategyName.auto)  # nothing to divide it over
    assert chosen(large, CPU, 6) == (False, StrategyName.auto)


def test_what_the_options_say_is_kept(large: TrainConfig) -> None:
    off = replace(large, model=replace(large.model, activation_checkpointing=False))
    on = replace(large, model=replace(large.model, activation_checkpointing=True))
    assert chosen(off, GPUS, 12) == (False, StrategyName.fsdp)
    assert chosen(on, GPUS, 80) == (True, StrategyName.auto)
    ddp = replace(large, strategy=replace(large.strategy, name=StrategyName.ddp))
    assert chosen(ddp, GPUS, 6) == (True, StrategyName.ddp)
    fp64 = replace(large, trainer=replace(large.trainer, precision="64-true"))
    assert chosen(fp64, GPUS, 6) == (True, StrategyName.auto)  # which fsdp does not know


def test_there_must_be_room_for_the_tokens_of_every_phase_or_for_the_micro_batch_asked_for(
    large: TrainConfig,
) -> None:
    longest = replace(
        large,
        batch=replace(large.batch, phases=None),
        model=replace(large.model, activation_checkpointing=False),
    )
    needs = memory(longest, VOCAB, 8, on_gpu=True)
    enough = needs.peak(ENOUGH_TOKENS // 512) / USABLE / GIB
    assert chosen(large, GPUS, 1.001 * enough)[0] is False
    assert chosen(large, GPUS, 0.999 * enough)[0] is True
    few = replace(large, batch=replace(large.batch, micro_batch_size=2))
    assert chosen(few, GPUS, 0.999 * enough)[0] is False
    many = replace(large, trainer=replace(large.trainer, accumulate_grad_batches=2))
    assert chosen(many, GPUS, 1.001 * enough)[0] is True
