"""The memory estimate against what real models save, counted storage by storage."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from bert_lightning.batch import PretrainBatch, pack_sequences
from bert_lightning.config import (
    BatchConfig,
    FeedForwardKind,
    HiddenAct,
    ModelConfig,
    NormPlacement,
    ObjectiveConfig,
    OptimConfig,
    OptimizerName,
    PositionEmbedding,
    StrategyConfig,
    StrategyName,
    TrainConfig,
    TrainerConfig,
)
from bert_lightning.model import rounding
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import joint_loss
from bert_lightning.optim.optimizers import updated_by_muon
from bert_lightning.sizing.flops import count_parameters
from bert_lightning.sizing.memory import (
    Memory,
    activations,
    byte_widths,
    known_vocab_size,
    memory,
)

VOCAB = 400
PRECISIONS = ["32-true", "bf16-mixed", "16-mixed", "bf16-true"]
MODERN = {
    "norm": NormPlacement.pre,
    "position_embedding": PositionEmbedding.rotary,
    "feed_forward": FeedForwardKind.glu,
    "qk_norm": True,
    "bias": False,
}
ARCHITECTURES = {
    "bert": {},
    "relu": {"hidden_act": HiddenAct.relu},
    "modern": MODERN,
    "without dropout": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "checkpointing": {"activation_checkpointing": True},
    "modern, checkpointing": {**MODERN, "activation_checkpointing": True},
}


@pytest.fixture(autouse=True)
def _exact_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves small batches as they are; rounding them up would be most of what they save."""
    monkeypatch.setattr(rounding, "_ROUNDED_TO", 1)


def small(**options: Any) -> ModelConfig:
    return ModelConfig(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, **options},
    )


def batch(sequences: int, length: int) -> PretrainBatch:
    rng = np.random.default_rng(0)
    total = sequences * length
    masked = np.sort(rng.choice(total, round(0.15 * total), replace=False))
    return PretrainBatch(
        pack_sequences(
            rng.integers(0, VOCAB, total),
            rng.integers(0, 2, total),
            np.full(sequences, length),
        ),
        torch.from_numpy(masked),
        torch.from_numpy(rng.integers(0, VOCAB, len(masked))),
        {"nsp": torch.from_numpy(rng.integers(0, 2, sequences))},
        {"mlm": len(masked), "nsp": sequences},
    )


def saved_bytes(
    config: ModelConfig, precision: str, sequences: int, length: int, device: str = "cpu"
) -> int:
    """Returns the bytes saved for the backward pass, parameters left out."""
    model = BertForPreTraining(config, VOCAB).to(device)
    if precision.endswith("true") and precision.startswith("bf16"):
        model = model.bfloat16()
    kept = {
        parameter.untyped_storage().data_ptr(): torch.empty(0) for parameter in model.parameters()
    }
    counted = 0

    def pack(saved: torch.Tensor) -> torch.Tensor:
        nonlocal counted
        address = saved.untyped_storage().data_ptr()
        if address not in kept:
            kept[address] = saved.detach()  # kept alive, so that no other storage gets its address
            counted += saved.untyped_storage().nbytes()
        return saved

    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    examples = batch(sequences, length).on(torch.device(device))
    with (
        saved_tensors_hooks(pack, lambda saved: saved),
        torch.autocast(device, dtype=dtype, enabled=dtype is not None),
    ):
        joint_loss(model.sums(examples), examples.global_counts, ObjectiveConfig().weights)
    return counted


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_sequence_saves_what_is_estimated(arch: str, precision: str) -> None:
    config, length = small(**ARCHITECTURES[arch]), 96
    few, many = (saved_bytes(config, precision, n, length) for n in (1, 3))
    planned = activations(config, length, 0.15, precision, on_gpu=False)
    assert (many - few) / 2 == pytest.approx(planned.saved, rel=0.1)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_sequence_saves_on_a_gpu_what_is_estimated(arch: str, precision: str) -> None:
    config, length = small(**ARCHITECTURES[arch]), 96
    few, many = (saved_bytes(config, precision, n, length, "cuda") for n in (64, 192))
    planned = activations(config, length, 0.15, precision, on_gpu=True)
    assert (many - few) / 128 == pytest.approx(planned.saved, rel=0.1)


def test_attention_weights_grow_with_the_square_of_the_length() -> None:
    config = small()
    each = {length: saved_bytes(config, "32-true", 1, length) for length in (32, 64, 128)}
    # a n² + b n + c has the second difference 2 a
    square = (each[128] - each[64]) / 64 - (each[64] - each[32]) / 32
    planned = activations(config, 128, 0.15, "32-true", on_gpu=False)
    assert square / (128 - 32) * 128**2 == pytest.approx(planned.attention_weights, rel=0.02)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_saved_whatever_the_batch(precision: str) -> None:
    config = small()
    few, many = (saved_bytes(config, precision, n, 32) for n in (1, 3))
    run = TrainConfig(model=config, trainer=TrainerConfig(precision=precision))
    planned = memory(run, VOCAB, world_size=1, on_gpu=False)
    gradient = byte_widths(precision).parameter * VOCAB * (config.hidden_size + 1)
    assert (3 * few - many) / 2 == pytest.approx(planned.weight_copies + gradient, rel=0.1)


@pytest.mark.parametrize(
    ("arch", "precision"),
    [("bert", "32-true"), ("modern", "bf16-mixed"), ("checkpointing", "bf16-mixed")],
)
def test_the_peak_of_a_step(arch: str, precision: str, tmp_path: Path) -> None:
    config = replace(small(**ARCHITECTURES[arch]), hidden_size=128, intermediate_size=512)
    model, examples = BertForPreTraining(config, VOCAB), batch(8, 128)
    bf16 = precision == "bf16-mixed"

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = joint_loss(
                model.sums(examples), examples.global_counts, ObjectiveConfig().weights
            )
        loss.backward()

    step()  # gradients exist from now on, as in gradient accumulation
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    events = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    totals = [event["args"]["Total Allocated"] for event in events]
    peak = max(totals) - totals[0] + events[0]["args"]["Bytes"]
    run = TrainConfig(
        batch=BatchConfig(max_length=128), model=config, trainer=TrainerConfig(precision=precision)
    )
    planned = memory(run, VOCAB, world_size=1, on_gpu=False)
    before = planned.weights + planned.gradients + planned.optimizer_state
    assert peak == pytest.approx(planned.peak(8) - before, rel=0.1)


def run_of(strategy: str = "auto", precision: str = "32-true", **model: Any) -> TrainConfig:
    return TrainConfig(
        model=small(**model),
        optim=OptimConfig(OptimizerName.adamw),
        trainer=TrainerConfig(precision=precision),
        strategy=StrategyConfig(StrategyName[strategy]),
    )


def test_a_value_takes_its_width_in_weights_gradients_and_twice_in_adam() -> None:
    count = count_parameters(BertForPreTraining(small(), VOCAB)).total
    for precision, width in {"32-true": 4, "bf16-mixed": 4, "16-mixed": 4, "bf16-true": 2}.items():
        needs = memory(run_of(precision=precision), VOCAB, 1, on_gpu=True)
        assert (needs.weights, needs.gradients, needs.optimizer_state) == (
            width * count,
            width * count,
            2 * width * count,
        )


def test_optimizer_state_and_ema_are_counted_as_they_are_kept() -> None:
    model = BertForPreTraining(small(), VOCAB)
    matrices = sum(
        p.numel() for n, p in model.named_parameters() if updated_by_muon(OptimConfig(), n, p)
    )
    count = sum(parameter.numel() for parameter in model.parameters())
    one = memory(run_of(), VOCAB, 1, on_gpu=True)
    for optimizer, numbers in {"lamb": 2 * count, "muon": 2 * count - matrices}.items():
        run = replace(run_of(), optim=OptimConfig(OptimizerName[optimizer]))
        assert memory(run, VOCAB, 1, on_gpu=True).optimizer_state == 4 * numbers
    for strategy, world in (("auto", 1), ("ddp", 2), ("fsdp", 2)):
        run = run_of(strategy)
        with_ema = replace(run, optim=OptimConfig(OptimizerName.adamw, ema_decay=0.9))
        without, needs = (memory(each, VOCAB, world, on_gpu=True) for each in (run, with_ema))
        assert needs.ema == needs.weights == needs.fixed - without.fixed
    assert one.ema == 0


def test_strategies_differ_in_what_a_device_holds() -> None:
    one, ddp, fsdp = (
        memory(run_of(strategy), VOCAB, world, on_gpu=True)
        for strategy, world in (("auto", 1), ("ddp", 8), ("fsdp", 8))
    )
    assert ddp == one
    assert memory(run_of("auto"), VOCAB, 8, on_gpu=True) == ddp
    assert fsdp.optimizer_state == one.optimizer_state / 8
    assert fsdp.weights == one.weights / 8
    assert fsdp.weight_copies > 0
    assert one.sequence == ddp.sequence == fsdp.sequence


def test_flash_saves_no_attention_weights() -> None:
    flash = activations(small(), 512, 0.15, "bf16-mixed", on_gpu=True)
    assert flash.attention_weights == 0
    assert activations(small(), 512, 0.15, "32-true", on_gpu=True).attention_weights > 0
    assert activations(small(), 512, 0.15, "bf16-mixed", on_gpu=False).attention_weights > 0
    double = activations(small(), 1024, 0.15, "bf16-mixed", on_gpu=True)
    assert double.total == pytest.approx(2 * flash.total, rel=0.01)


def test_a_gpus_logits_grow_with_the_batch_up_to_a_chunk() -> None:
    run = run_of(precision="bf16-mixed")
    run.batch.max_length, vocab = 512, 30_528
    needs = memory(run, vocab, 1, on_gpu=True)
    assert needs.logits == pytest.approx(0.15 * 512 * vocab * 2)
    assert needs.most_logits == 16_384 * vocab * 2
    on_cpu = memory(run, vocab, 1, on_gpu=False)
    assert (on_cpu.logits, on_cpu.most_logits) == (0, 0)
    rows = 16_384 / (0.15 * 512)  # sequences that fill a chunk
    saved, fixed = needs.sequence.saved, needs.fixed + needs.mlm_head
    assert needs.peak(10) == pytest.approx(fixed + 10 * (saved + needs.logits))
    assert needs.peak(1000) == pytest.approx(
        needs.fixed
        + 1000 * saved
        + max(needs.mlm_head + rows * needs.logits, 1000 * needs.sequence.backward)
    )


@cache
def needs_of(precision: str, checkpointing: bool) -> Memory:
    run = run_of(precision=precision, activation_checkpointing=checkpointing)
    return memory(run, VOCAB, 1, on_gpu=True)


@settings(deadline=None)  # a busy machine is no failure
@given(
    available=st.integers(0, 10**9),
    checkpointing=st.booleans(),
    precision=st.sampled_from(PRECISIONS),
)
def test_the_largest_micro_batch_fits_and_one_more_does_not(
    available: int, checkpointing: bool, precision: str
) -> None:
    needs = needs_of(precision, checkpointing)
    largest = needs.largest_micro_batch(available)
    assert largest == 0 or needs.peak(largest) <= available
    assert needs.peak(largest + 1) > available


def test_the_vocabulary_is_what_the_options_say_or_berts() -> None:
    run = run_of()
    assert known_vocab_size(run) == 30_522
    run.tokenizer.vocab_size = 8_000
    assert known_vocab_size(run) == 8_000
    run.model.vocab_size = 9_000
    assert known_vocab_size(run) == 9_000
