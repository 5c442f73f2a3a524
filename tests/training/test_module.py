"""One training step's parts by themselves, without a Trainer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bert_lightning.config import TrainConfig
from bert_lightning.training.module import PretrainingModule

Config = Callable[..., TrainConfig]


def module_of(config: TrainConfig) -> PretrainingModule:
    return PretrainingModule(config, 50, 6, [100], {})


def weights(module: PretrainingModule) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.model.parameters()])


def test_initial_weights_follow_from_the_seed_and_from_no_other_random_number(
    small_config: Config, tmp_path: Path
) -> None:
    config = small_config(tmp_path)
    torch.manual_seed(1)
    first, state = weights(module_of(config)), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(weights(module_of(config)), first)
    assert not torch.equal(weights(module_of(replace(config, seed=77))), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("limit", "algorithm", "largest", "norm"),
    [
        (0.25, "value", 0.25, None),
        (0.25, "norm", None, 0.25),
        (0.25, None, None, 0.25),  # Lightning's default is the norm
        (1000.0, "value", 3.0, None),
        (1000.0, "norm", 3.0, None),
        (None, "norm", 3.0, None),
        (None, "value", 3.0, None),
        (0.0, "value", 3.0, None),
    ],
)
def test_gradients_are_clipped_by_value_or_by_their_norm(
    small_config: Config,
    tmp_path: Path,
    limit: float | None,
    algorithm: str | None,
    largest: float | None,
    norm: float | None,
) -> None:
    module: Any = module_of(small_config(tmp_path))
    for parameter in module.model.parameters():
        parameter.grad = torch.full_like(parameter, -1.0)
    next(module.model.parameters()).grad[0, 0] = 3.0
    module.configure_gradient_clipping(None, limit, algorithm)
    clipped = torch.cat([parameter.grad.flatten() for parameter in module.model.parameters()])
    if largest is not None:
        assert clipped.max().item() == pytest.approx(largest)
        assert clipped.min().item() == pytest.approx(-min(largest, 1.0))
    if norm is not None:
        assert clipped.norm().item() == pytest.approx(norm, rel=1e-4)


def test_the_norm_of_a_gradient_is_computed_once_a_step(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = module_of(small_config(tmp_path))
    parameter = next(module.model.parameters())
    parameter.grad = torch.zeros_like(parameter)
    parameter.grad[0, :2] = torch.tensor([3.0, 4.0])
    assert module.gradient_norm().item() == 5
    parameter.grad.zero_()  # as clipping changes it
    assert module.gradient_norm().item() == 5
    trainer = SimpleNamespace(accumulate_grad_batches=1)
    for name, value in (("trainer", trainer), ("global_step", 3), ("global_rank", 0)):
        monkeypatch.setattr(PretrainingModule, name, value)
    module.on_train_batch_start(None, 3)
    assert module.gradient_norm().item() == 0


def test_blocks_are_compiled_for_any_number_of_tokens_where_the_config_says_so(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda block, **options: compiled.append((block, options))
    )
    config = small_config(tmp_path)
    module_of(config)
    assert not compiled
    config.model.compile = True
    blocks = module_of(config).model.encoder.blocks
    assert compiled == [(block, {"dynamic": True}) for block in blocks]
