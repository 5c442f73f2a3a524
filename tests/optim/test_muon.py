"""Muon in batched products against torch's, and updates that a device leaves out by itself."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from bert_lightning.optim.lamb import Lamb
from bert_lightning.optim.muon import Muon, orthogonal
from bert_lightning.optim.optimizers import CombinedOptimizer
from bert_lightning.optim.skipping import can_skip, skip_where

SHAPES = [(24, 24), (48, 24), (24, 48), (24, 24), (72, 24), (24, 24)]
MAKERS: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
    "adam": lambda given: Adam(given, 0.01, fused=True),
    "adamw": lambda given: AdamW(given, 0.01, fused=True),
    "muon": lambda given: Muon(given, 0.01, 0.1, 0.95),
    "both": lambda given: CombinedOptimizer(
        [Muon(given[:3], 0.01, 0.1, 0.95), AdamW(given[3:], 0.01, fused=True)]
    ),
}


def matrices() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def give_gradients(*models: list[nn.Parameter], bad: bool = False) -> None:
    for together in zip(*models, strict=True):
        gradient = torch.randn_like(together[0])
        if bad:
            gradient[0, 0] = torch.nan
        for parameter in together:
            parameter.grad = gradient.clone()


def test_it_is_torchs_but_for_rounding() -> None:
    ours, theirs = matrices(), matrices()
    batched = Muon(ours, 0.02, 0.1, 0.9)
    one_by_one = torch.optim.Muon(theirs, 0.02, weight_decay=0.1, momentum=0.9)
    for step in range(4):
        give_gradients(ours, theirs)
        if step < 2:
            ours[1].grad = theirs[1].grad = None
        batched.step()
        one_by_one.step()
    for one, other in zip(ours, theirs, strict=True):
        # bf16 has 8 bits, and four updates move a weight by about 0.02 each.
        torch.testing.assert_close(one, other, rtol=0, atol=4 * 0.02 / 2**8)


def test_what_is_orthogonal_has_all_singular_values_near_1() -> None:
    torch.manual_seed(0)
    for shape in ((48, 24), (24, 72)):  # a square one has some very near 0
        values = torch.linalg.svdvals(orthogonal(torch.randn(3, *shape)).float())
        assert 0.5 < values.min() <= values.max() < 1.3


def state_of(optimizer: Optimizer) -> list[Tensor]:
    parts = getattr(optimizer, "optimizers", [optimizer])
    return [
        value.clone() for part in parts for one in part.state.values() for value in one.values()
    ]


@pytest.mark.parametrize("name", MAKERS)
def test_a_skipped_update_changes_neither_weights_nor_state_and_another_is_the_same(
    name: str,
) -> None:
    ours, plain = matrices(), matrices()
    optimizer, other = MAKERS[name](ours), MAKERS[name](plain)
    assert can_skip(optimizer)
    for step in range(5):
        before, state = deepcopy(ours), state_of(optimizer)
        if step == 3:
            give_gradients(ours, bad=True)
        else:
            give_gradients(ours, plain)
            other.step()
        if step:  # and from then on
            skip_where(optimizer, torch.tensor(step == 3))
        optimizer.step()
        same = [torch.equal(*pair) for pair in zip(ours, before, strict=True)]
        assert same == [step == 3] * len(same)
        if step == 3:
            assert all(map(torch.equal, state_of(optimizer), state))
    assert all(map(torch.equal, ours, plain))
    assert all(map(torch.equal, state_of(optimizer), state_of(other)))


def test_what_cannot_skip_is_known() -> None:
    given = matrices()
    assert not any(map(can_skip, (Lamb(given, 0.1), SGD(given, 0.1), AdamW(given, fused=False))))
    mixed = CombinedOptimizer([Muon(given[:1], 0.1, 0.1, 0.9), AdamW(given[1:], fused=False)])
    assert not can_skip(mixed)
