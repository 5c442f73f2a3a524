"""The plan of a run, computed from its options alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bert_lightning.config import (
    BatchConfig,
    MaskingConfig,
    ModelConfig,
    OptimConfig,
    OptimizerName,
    PhaseConfig,
    StrategyConfig,
    StrategyName,
    TrainConfig,
    TrainerConfig,
)
from bert_lightning.data.phases import Phase
from bert_lightning.errors import UserError
from bert_lightning.sizing.flops import forward_flops
from bert_lightning.sizing.plan import GIB, PlanOptions, plan

LARGE = ModelConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
ADAMW = OptimConfig(OptimizerName.adamw)


def large(
    length: int = 512, micro: int | None = None, strategy: str = "auto", **trainer: Any
) -> TrainConfig:
    return TrainConfig(
        batch=BatchConfig(max_length=length, global_batch_size=512, micro_batch_size=micro),
        model=LARGE,
        optim=ADAMW,
        trainer=TrainerConfig(**{"precision": "32-true", "max_steps": 1000, **trainer}),
        strategy=StrategyConfig(StrategyName[strategy]),
    )


def test_a_run_takes_its_flops_at_the_stated_rate_over_all_devices() -> None:
    made = plan(large(devices=8, num_nodes=2), PlanOptions(tokens=3.3e9, tflops=100, fill=0.5))
    length = 256
    assert made.steps == -(-3.3e9 // (512 * length))
    assert made.tokens == made.steps * 512 * length
    sequence = forward_flops(LARGE, 30_522, np.array([length]), 0.15 * length).times(3)
    seconds = made.steps * 512 * sequence.total / (16 * 100e12)
    assert made.hours == pytest.approx(seconds / 3600)
    assert made.training_flops.total * length == pytest.approx(sequence.total)


def test_without_a_budget_it_is_the_runs_own_steps() -> None:
    assert plan(large(max_steps=70), PlanOptions()).steps == 70
    with pytest.raises(UserError, match="--tokens"):
        plan(large(max_steps=-1, max_epochs=1), PlanOptions())


def test_checkpointing_takes_longer_and_less_memory() -> None:
    usual, checkpointing = large(), large()
    checkpointing.model = ModelConfig(**{**vars(LARGE), "activation_checkpointing": True})
    a, b = plan(usual, PlanOptions()), plan(checkpointing, PlanOptions())
    assert b.largest_micro_batch > 5 * a.largest_micro_batch
    assert 1.3 < b.hours / a.hours < 4 / 3


def test_the_micro_batch_is_the_largest_that_divides_and_fits() -> None:
    made = plan(large(), PlanOptions(memory=16))
    assert made.fits
    assert made.micro_batch_size <= made.largest_micro_batch < 8
    assert made.micro_batch_size * made.partition.accumulation == 512
    assert made.memory.peak(made.largest_micro_batch + 1) > made.usable == 0.9 * 16 * GIB


def in_phases(*phases: PhaseConfig, **batch: Any) -> TrainConfig:
    return TrainConfig(
        batch=BatchConfig(max_length=512, global_batch_size=512, phases=list(phases), **batch),
        model=LARGE,
        optim=ADAMW,
        trainer=TrainerConfig(max_steps=1000, precision="bf16-mixed"),
    )


def test_a_run_in_phases_costs_what_its_phases_do_one_after_the_other() -> None:
    masking = MaskingConfig(0.3, mlm_probability_end=0.1)
    phases = [PhaseConfig(0.9, 128, 1024), PhaseConfig(0.1)]
    made = plan(in_phases(*phases, masking=masking), PlanOptions(tflops=100, fill=0.5))
    flops = tokens = 0.0
    for step in range(1000):
        pairs, length = (1024, 64) if step < 900 else (512, 256)
        masked = length * (0.3 - 0.2 * (step + 0.5) / 1000)
        flops += pairs * 3 * forward_flops(LARGE, 30_522, np.array([length]), masked).total
        tokens += pairs * length
    assert made.tokens == tokens
    assert made.hours == pytest.approx(flops / 100e12 / 3600)
    assert made.training_flops.total == pytest.approx(flops / tokens)
    assert [phase.steps for phase in made.phases] == [900, 100]
    by_tokens = plan(in_phases(*phases), PlanOptions(tokens=tokens, fill=0.5))
    assert by_tokens.steps == 1000


def test_memory_is_that_of_the_phase_that_needs_most() -> None:
    long, many = PhaseConfig(0.9, 512, 512), PhaseConfig(0.1, 128, 4096)
    alone = {
        phase.max_length: plan(in_phases(replace(phase, fraction=1)), PlanOptions(memory=2000))
        for phase in (long, many)
    }
    assert alone[128].peak > alone[512].peak
    made = plan(in_phases(long, many), PlanOptions(memory=2000))
    assert made.partition.accumulation == 1
    assert (made.peak, made.largest.max_length) == (alone[128].peak, 128)
    assert plan(in_phases(PhaseConfig(0.9, 128), PhaseConfig(0.1)), PlanOptions()).largest == (
        Phase(512, 512, 900, 1000)
    )


def test_what_does_not_fit_is_a_result() -> None:
    asked = plan(large(micro=512), PlanOptions())
    assert not asked.fits
    assert asked.largest_micro_batch > 0
    nothing = plan(large(), PlanOptions(memory=6))
    assert not nothing.fits
    assert nothing.largest_micro_batch == 0


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ({"accelerator": "cpu"}, {}, "--memory GIB and --tflops RATE"),
        ({"accelerator": "gpuu"}, {}, "did you mean 'gpu'"),
        ({"precision": "fp8"}, {}, "trainer.precision=fp8"),
        ({"accelerator": "cpu", "strategy": "fsdp"}, {}, "strategy=fsdp"),
        ({"devices": 3}, {}, "nearest: batch.global_batch_size=510"),
        ({}, {"fill": 0}, "--fill 0"),
        ({}, {"tokens": -1}, "--tokens -1"),
        ({}, {"tflops": float("inf")}, "--tflops inf"),
        ({}, {"vocab_size": 0}, "--vocab-size 0"),
    ],
)
def test_what_cannot_be_planned(
    config: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan(large(**config), PlanOptions(**options))


def test_a_cpu_is_planned_with_what_it_is_said_to_have() -> None:
    made = plan(large(accelerator="cpu"), PlanOptions(memory=64, tflops=0.1))
    assert made.memory.sequence.attention_weights > 0
    assert made.fits
