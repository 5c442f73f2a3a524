"""The formulas of parameters and FLOPs against torch's own count on real models."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bert_lightning.batch import PretrainBatch, pack_sequences
from bert_lightning.config import (
    FeedForwardKind,
    ModelConfig,
    NormPlacement,
    ObjectiveConfig,
    PositionEmbedding,
)
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import joint_loss
from bert_lightning.sizing.flops import (
    count_parameters,
    forward_flops,
    meta_model,
    recomputed_flops,
)

MODERN = {
    "norm": NormPlacement.pre,
    "position_embedding": PositionEmbedding.rotary,
    "feed_forward": FeedForwardKind.glu,
    "qk_norm": True,
    "bias": False,
}
ARCHITECTURES = pytest.mark.parametrize("arch", [{}, MODERN], ids=["bert", "modern"])
VOCAB = 300
LENGTHS = [32, 96, 64, 32, 96]
"""Multiples of a bucket's step, so that no padding is counted."""


def small(**options: Any) -> ModelConfig:
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    return ModelConfig(**{**sizes, "intermediate_size": 112, **options})


def batch(lengths: list[int], vocab_size: int) -> PretrainBatch:
    rng = np.random.default_rng(0)
    total = sum(lengths)
    masked = np.sort(rng.choice(total, round(0.15 * total), replace=False))
    return PretrainBatch(
        pack_sequences(
            rng.integers(0, vocab_size, total), rng.integers(0, 2, total), np.array(lengths)
        ),
        torch.from_numpy(masked),
        torch.from_numpy(rng.integers(0, vocab_size, len(masked))),
        {"nsp": torch.from_numpy(rng.integers(0, 2, len(lengths)))},
        {"mlm": len(masked), "nsp": len(lengths)},
    )


@ARCHITECTURES
@pytest.mark.parametrize("vocab_size", [50, 20_000])
def test_parameters_are_the_models_own(arch: dict[str, Any], vocab_size: int) -> None:
    config = small(**arch)
    model = BertForPreTraining(config, vocab_size)
    counted = count_parameters(meta_model(config, vocab_size))

    def size(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert counted.total == size(model)
    assert counted.pooler == size(model.pooler)
    assert counted.nsp_head == size(model.nsp_head)
    assert counted.feed_forward == sum(size(block.feed_forward) for block in model.encoder.blocks)
    embeddings = model.encoder.embeddings
    assert counted.embeddings == size(embeddings) - size(embeddings.norm)


@ARCHITECTURES
def test_forward_flops_are_those_that_torch_counts(arch: dict[str, Any]) -> None:
    config, examples = small(**arch), batch(LENGTHS, VOCAB)
    model = BertForPreTraining(config, VOCAB).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        model.sums(examples)
    expected = forward_flops(config, VOCAB, np.array(LENGTHS), len(examples.masked_labels))
    assert counter.get_total_flops() == pytest.approx(expected.total, rel=0.01)


@ARCHITECTURES
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("vocab_size", [VOCAB, 5_000])
def test_training_flops_are_those_that_torch_counts(
    arch: dict[str, Any], checkpointing: bool, vocab_size: int
) -> None:
    config = small(**arch, activation_checkpointing=checkpointing)
    examples = batch(LENGTHS, vocab_size)
    model = BertForPreTraining(config, vocab_size)
    with FlopCounterMode(display=False) as counter:
        joint_loss(
            model.sums(examples), examples.global_counts, ObjectiveConfig().weights
        ).backward()
    sizes = (config, vocab_size, np.array(LENGTHS), len(examples.masked_labels))
    forward = forward_flops(*sizes)
    expected = 3 * forward.total + recomputed_flops(config, forward)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)


@ARCHITECTURES
def test_the_parts_are_those_of_their_modules(arch: dict[str, Any]) -> None:
    """Each part alone, so that two wrong ones cannot make up for each other."""
    config, examples = small(**arch), batch(LENGTHS, VOCAB)
    model = BertForPreTraining(config, VOCAB).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        model.sums(examples)
    counted = {str(name): sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    expected = forward_flops(config, VOCAB, np.array(LENGTHS), len(examples.masked_labels))

    def of(end: str) -> int:
        return sum(flops for name, flops in counted.items() if name.endswith(end))

    attention = expected.attention_projections + expected.attention_scores
    assert of(".attention") == pytest.approx(attention, rel=0.01)
    assert of("query_key_value") + of("attention.output") == pytest.approx(
        expected.attention_projections, rel=0.01
    )
    assert of(".feed_forward") == pytest.approx(expected.feed_forward, rel=0.01)
    assert of(".pooler") == expected.pooler
    assert of(".nsp_head") == expected.nsp_head
