"""The encoder against one written out on padded sequences, and its sizes against the paper's."""

import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from padded import padded_encoder
from torch import nn

from bert_lightning.batch import Sequences, pack_sequences
from bert_lightning.config import (
    FeedForwardKind,
    HiddenAct,
    ModelConfig,
    NormPlacement,
    PositionEmbedding,
)
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining

BASE = ModelConfig(
    hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072
)
LARGE = ModelConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
MODERN: dict[str, Any] = {
    "norm": NormPlacement.pre,
    "position_embedding": PositionEmbedding.rotary,
    "feed_forward": FeedForwardKind.glu,
    "qk_norm": True,
    "bias": False,
}
KINDS: list[dict[str, Any]] = [
    {},
    {"hidden_act": HiddenAct.relu},
    *({name: value} for name, value in MODERN.items()),
    MODERN,
]
LENGTHS = [7, 40, 1, 23, 16, 32]


@pytest.mark.parametrize(("config", "count"), [(BASE, 110_106_428), (LARGE, 336_226_108)])
def test_base_and_large_have_the_parameters_of_the_paper(config: ModelConfig, count: int) -> None:
    with torch.device("meta"):
        model = BertForPreTraining(config, vocab_size=30_522)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def small_model(**options: Any) -> BertForPreTraining:
    torch.manual_seed(0)
    config = ModelConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=40,
        initializer_range=0.2,
    )
    model = BertForPreTraining(replace(config, **options), vocab_size=50).double()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def some_sequences(lengths: list[int], seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    return pack_sequences(rng.integers(0, 50, total), rng.integers(0, 2, total), np.array(lengths))


def gradients(model: BertForPreTraining, hidden: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(1)
    loss = (hidden * torch.randn(hidden.shape, dtype=hidden.dtype)).sum()
    return list(torch.autograd.grad(loss, list(model.encoder.parameters())))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)) or "bert")
def test_every_kind_equals_the_padded_reference_with_its_gradients(kind: dict[str, Any]) -> None:
    model, sequences = small_model(**kind), some_sequences(LENGTHS)
    encoded = model(sequences)
    weights = dict(model.encoder.named_parameters())
    assert any(name.endswith("bias") for name in weights) is model.config.bias
    expected = padded_encoder(weights, model.config, sequences)
    torch.testing.assert_close(encoded.hidden, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(encoded.pooled, model.pooler(expected[sequences.cu_seqlens[:-1]]))
    ours, theirs = gradients(model, encoded.hidden), gradients(model, expected)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [{}, MODERN], ids=["bert", "modern"])
def test_in_fp32_too(kind: dict[str, Any]) -> None:
    model, sequences = small_model(**kind).float(), some_sequences(LENGTHS)
    weights = {name: value.double() for name, value in model.encoder.named_parameters()}
    expected = padded_encoder(weights, model.config, sequences).float()
    torch.testing.assert_close(model(sequences).hidden, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [{}, MODERN], ids=["bert", "modern"])
@pytest.mark.parametrize("bf16", [False, True])
def test_changing_one_sequence_leaves_its_neighbours_as_they_are_to_the_bit(
    kind: dict[str, Any], bf16: bool
) -> None:
    model, sequences = small_model(**kind).float(), some_sequences([9, 30, 12, 30])
    changed = sequences.token_ids.clone()
    changed[9:39] = (changed[9:39] + 1) % 50
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        before = model(sequences).hidden
        after = model(sequences._replace(token_ids=changed)).hidden
    assert not torch.equal(before[9:39], after[9:39])
    assert torch.equal(before[:9], after[:9])
    assert torch.equal(before[39:], after[39:])


@pytest.mark.parametrize("kind", [{}, MODERN], ids=["bert", "modern"])
def test_a_sequence_is_the_same_alone_and_among_others(kind: dict[str, Any]) -> None:
    model, together = small_model(**kind), some_sequences([9, 30, 12])
    alone = pack_sequences(
        together.token_ids[:9].numpy(), together.token_type_ids[:9].numpy(), np.array([9])
    )
    hidden = model(together).hidden[:9]
    torch.testing.assert_close(hidden, model(alone).hidden, rtol=1e-10, atol=1e-12)


def test_rotary_positions_tell_order_without_a_vector_of_their_own() -> None:
    model = small_model(position_embedding=PositionEmbedding.rotary)
    assert not any("position" in name for name, _ in model.named_parameters())
    forwards = pack_sequences(np.array([3, 4, 5]), np.zeros(3), np.array([3]))
    backwards = pack_sequences(np.array([5, 4, 3]), np.zeros(3), np.array([3]))
    assert not torch.allclose(model(forwards).hidden[1], model(backwards).hidden[1])


def test_rotary_positions_need_heads_of_an_even_size() -> None:
    with pytest.raises(UserError, match="heads of 3 values"):
        ModelConfig(
            hidden_size=9, num_attention_heads=3, position_embedding=PositionEmbedding.rotary
        )


@pytest.mark.parametrize("kind", [{}, MODERN], ids=["bert", "modern"])
def test_under_bf16_activations_are_bf16_and_parameters_are_not(kind: dict[str, Any]) -> None:
    model, sequences = small_model(**kind).float(), some_sequences(LENGTHS)
    exact = model(sequences).hidden
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(sequences).hidden
    assert rough.dtype is torch.bfloat16
    assert ((rough.float() - exact).norm() / exact.norm()).item() < 0.05
    rough.float().pow(2).sum().backward()
    assert {parameter.grad.dtype for parameter in model.encoder.parameters()} == {torch.float32}


def test_under_fp16_vectors_between_layers_stay_fp32() -> None:
    model, sequences = small_model().float(), some_sequences(LENGTHS)
    with torch.autocast("cpu", torch.float16):
        assert model.encoder.embeddings(sequences).dtype is torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert model.encoder.embeddings(sequences).dtype is torch.bfloat16


def test_activation_checkpointing_changes_memory_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
    sequences = some_sequences(LENGTHS)

    def results(model: BertForPreTraining) -> tuple[list[torch.Tensor], int]:
        kept = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        torch.manual_seed(2)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            hidden = model(sequences).hidden
        before_backward = kept
        return [hidden, *gradients(model, hidden)], before_backward

    plain, kept = results(small_model(**options))
    checkpointing = small_model(**options, activation_checkpointing=True)
    checkpointed, kept_less = results(checkpointing)
    assert all(map(torch.equal, checkpointed, plain))
    assert kept_less < kept / 3
    with monkeypatch.context() as patch:
        patch.setattr("bert_lightning.model.bert.checkpoint", None)  # evaluation has no use for it
        checkpointing.eval()(sequences)


def test_the_decoder_is_tied_to_the_embedding_and_the_start_is_normal() -> None:
    model = BertForPreTraining(ModelConfig(initializer_range=0.02), vocab_size=5000)
    word = model.encoder.embeddings.word.weight
    assert model.mlm_head.decoder.weight is word
    assert word.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.mlm_head.decoder.bias.abs().max() == 0


def test_positions_start_normal_where_no_sines_are_asked_for_and_nothing_else_changes() -> None:
    sines = dict(small_model(sinusoidal_init=True).named_parameters())
    table = sines.pop("encoder.embeddings.position.weight")
    normal = dict(small_model(sinusoidal_init=False).named_parameters())
    drawn = normal.pop("encoder.embeddings.position.weight")
    assert drawn.std().item() == pytest.approx(0.2, rel=0.05)
    assert not torch.allclose(drawn, table)
    assert sines.keys() == normal.keys()
    assert all(torch.equal(sines[name], normal[name]) for name in sines)


def test_positions_start_as_sines_of_the_size_asked_for() -> None:
    model = small_model(sinusoidal_init=True, initializer_range=0.05)
    assert model.encoder.embeddings.position is not None
    table = model.encoder.embeddings.position.weight
    for position, index in ((0, 0), (0, 1), (7, 4), (7, 5), (39, 30)):
        angle = position / 10000 ** (2 * (index // 2) / 32)
        value = math.cos(angle) if index % 2 else math.sin(angle)
        assert table[position, index].item() == pytest.approx(0.1 * 2**0.5 * value, abs=1e-6)
    assert table.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("kind", [{}, MODERN], ids=["bert", "modern"])
def test_the_last_layer_is_what_the_encoder_computes(kind: dict[str, Any]) -> None:
    encoder = small_model(**kind).encoder.eval()
    sequences = some_sequences(LENGTHS)
    layers = list(encoder.layers(sequences))
    assert len(layers) == 1 + 3
    assert torch.equal(layers[0], encoder.embeddings(sequences))
    assert torch.equal(layers[-1], encoder(sequences))
    assert {tuple(layer.shape) for layer in layers} == {(sum(LENGTHS), 32)}


def test_the_encoder_keeps_no_layer_but_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, made, alive = small_model().encoder, [], []

    def layers(_: Sequences) -> Iterator[torch.Tensor]:
        for number in range(3):
            layer = torch.full((1,), number)
            made.append(weakref.ref(layer))
            yield layer
            del layer
            alive.append(sum(ref() is not None for ref in made))

    monkeypatch.setattr(encoder, "layers", layers)
    assert encoder(some_sequences(LENGTHS)).item() == 2
    assert alive == [1, 1, 1]


def test_another_model_has_the_same_shape_and_weights_of_its_own() -> None:
    model = BertForPreTraining(ModelConfig(), 50, {"mine": lambda *_: nn.Linear(3, 2)})
    other = model.another()
    assert list(other.objectives) == list(model.objectives) == ["mlm", "nsp", "mine"]
    assert other.config == model.config
    ours, theirs = model.state_dict(), other.state_dict()
    assert {name: each.shape for name, each in ours.items()} == {
        name: each.shape for name, each in theirs.items()
    }
    assert not torch.equal(
        ours["encoder.embeddings.word.weight"], other.encoder.embeddings.word.weight
    )
    assert not {each.data_ptr() for each in ours.values()} & {e.data_ptr() for e in theirs.values()}
