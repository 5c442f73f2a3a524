"""Padding-free attention against the paper's formula, one sequence and head at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bert_lightning.config import ModelConfig
from bert_lightning.model.attention import (
    Layout,
    SelfAttention,
    attend_in_buckets,
    bucket_by_length,
)

CPU = torch.device("cpu")
DRAWS = 400


def layout(lengths: list[int], heads: int) -> Layout:
    return Layout(bucket_by_length(np.array(lengths), heads, CPU), ())


@given(st.lists(st.integers(1, 70), min_size=1, max_size=20), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_each_head_of_a_token_has_one_padded_row_and_padding_is_never_attended_to(
    lengths: list[int], heads: int
) -> None:
    buckets = bucket_by_length(np.array(lengths), heads, CPU)
    rows = torch.arange(sum(lengths) * 3 * heads)
    assert torch.equal(buckets.to_padded[buckets.from_padded], rows)
    attended = [(padding == 0).expand(-1, 3, -1) for padding in buckets.paddings]
    real = torch.cat([mask.transpose(0, 1).flatten() for mask in attended])
    assert torch.equal(real.nonzero().flatten(), buckets.from_padded.sort().values)
    real = torch.cat([mask[:, 0].flatten() for mask in attended])
    assert torch.equal(real.nonzero().flatten(), buckets.mixed_from_padded.sort().values)


def padded_attention(layer: SelfAttention, x: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Each sequence by itself, each head by itself, straight from the paper."""
    outputs = []
    for part in x.split(lengths):
        q, k, v = layer.query_key_value(part).chunk(3, dim=-1)
        heads = []
        for q_h, k_h, v_h in zip(*(t.chunk(layer.heads, dim=-1) for t in (q, k, v)), strict=True):
            heads.append(((q_h @ k_h.T) / layer.head_dim**0.5).softmax(-1) @ v_h)
        outputs.append(layer.output(torch.cat(heads, dim=-1)))
    return torch.cat(outputs)


@pytest.mark.parametrize("training", [False, True])
def test_equals_one_sequence_and_one_head_at_a_time_with_its_gradients(training: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden_size=24, num_attention_heads=3, attention_probs_dropout_prob=0.0)
    layer = SelfAttention(config).double().train(training)
    lengths = [5, 40, 1, 17, 16, 33, 5]
    x = torch.randn(sum(lengths), 24, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(sum(lengths), 24, dtype=torch.float64)
    parameters = [x, *layer.parameters()]

    flat = layer(x, layout(lengths, 3))
    expected = padded_attention(layer, x, lengths)
    torch.testing.assert_close(flat, expected, rtol=1e-10, atol=1e-12)
    ours = torch.autograd.grad((flat * weights).sum(), parameters)
    theirs = torch.autograd.grad((expected * weights).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_path_with_dropout_is_the_path_without_on_average() -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden_size=16, num_attention_heads=2, attention_probs_dropout_prob=0.3)
    layer = SelfAttention(config)
    nn.init.normal_(layer.query_key_value.weight, std=0.3)
    where = layout([7, 20], 2)
    x = torch.randn(27, 16)
    with torch.no_grad():
        plain = layer.eval()(x, where)
        layer.train()
        draws = torch.stack([layer(x, where) for _ in range(DRAWS)])
    assert (draws[0] != draws[1]).any()
    error = (draws.mean(0) - plain).abs() / (draws.std(0) / DRAWS**0.5 + 1e-6)
    assert error.max() < 6  # standard errors


@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
def test_the_gradient_of_a_fixed_dropout_mask_is_that_of_finite_differences(
    dropout_p: float,
) -> None:
    torch.manual_seed(0)
    lengths, heads = np.array([3, 1, 5]), 2
    buckets = bucket_by_length(lengths, heads, CPU, step=4)
    qkv = torch.randn(9, 3, heads, 2, dtype=torch.float64, requires_grad=True)

    def attend(qkv: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)  # the same mask each time
        return attend_in_buckets(qkv, buckets, dropout_p)

    assert torch.equal(attend(qkv), attend_in_buckets(qkv, buckets, 0.0)) is (dropout_p == 0)
    assert torch.autograd.gradcheck(attend, qkv)


def test_without_dropout_no_random_number_is_drawn() -> None:
    layer = SelfAttention(ModelConfig(hidden_size=8, num_attention_heads=2)).eval()
    before = torch.get_rng_state()
    layer(torch.randn(5, 8, generator=torch.Generator()), layout([2, 3], 2))
    assert torch.equal(torch.get_rng_state(), before)
