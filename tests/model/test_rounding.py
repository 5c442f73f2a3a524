"""Rounding up the rows that oneDNN multiplies changes nothing but the last bits."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch, pack_sequences
from bert_lightning.config import ModelConfig
from bert_lightning.model import rounding
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.layers import keep_mask
from bert_lightning.model.linear_cross_entropy import linear_cross_entropy_sum


def test_only_products_of_16_bits_on_cpu_are_rounded_up() -> None:
    x = torch.zeros(65, 3)
    assert not rounding.by_onednn(x)
    assert rounding.by_onednn(x.bfloat16())
    assert rounding.with_rounded_rows(x) is x
    with torch.autocast("cpu", torch.bfloat16):
        assert rounding.by_onednn(x)
        longer = rounding.with_rounded_rows(x)
        assert longer.shape == (128, 3)
        assert rounding.with_rounded_rows(longer) is longer
    assert not rounding.by_onednn(torch.zeros(1, device="meta", dtype=torch.bfloat16))


def test_more_rows_leave_the_dropout_of_those_before_them() -> None:
    masks = []
    for rows in (65, 128):
        torch.manual_seed(0)
        masks.append(keep_mask(torch.zeros(rows, 3), 0.3)[:65])
    assert torch.equal(*masks)


def test_rows_without_labels_count_nothing() -> None:
    torch.manual_seed(0)
    x = torch.randn(70, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(30, 8, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(30, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 30, (41,))

    def results(x: Tensor) -> list[Tensor]:
        sums = linear_cross_entropy_sum(x, weight, bias, labels)
        return [*sums, *torch.autograd.grad(sums[0], [x, weight, bias])]

    (nll, correct, of_x, *rest), expected = results(x), results(x[:41])
    assert (of_x[41:] == 0).all()
    for ours, theirs in zip([nll, correct, of_x[:41], *rest], expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_in_bf16_the_loss_and_gradients_are_those_without_rounding_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = ModelConfig(hidden_size=16, num_attention_heads=2, intermediate_size=32)
    torch.manual_seed(0)
    bert = BertForPreTraining(config, 60)
    lengths, rng = np.array([40, 31, 29]), np.random.default_rng(0)
    ids = rng.integers(5, 60, 100)
    batch = PretrainBatch(
        pack_sequences(ids, ids % 2, lengths),
        torch.arange(3, 100, 9),
        torch.from_numpy(ids[3::9]),
        {"nsp": torch.tensor([0, 1, 1])},
        {"mlm": 11, "nsp": 3},
    )

    def results() -> tuple[float, Tensor]:
        torch.manual_seed(1)  # of dropout
        with torch.autocast("cpu", torch.bfloat16):
            sums = bert.sums(batch)
        loss = sums["mlm"].nll + sums["nsp"].nll
        gradients = torch.autograd.grad(loss, list(bert.parameters()))
        return loss.item(), torch.cat([gradient.flatten() for gradient in gradients])

    loss, gradient = results()
    monkeypatch.setattr(rounding, "_ROUNDED_TO", 1)
    other_loss, other_gradient = results()
    assert loss == pytest.approx(other_loss, rel=1e-4)
    assert ((gradient - other_gradient).norm() / other_gradient.norm()).item() < 5e-3
