"""One training step's parts by themselves, without a Trainer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch, pack_sequences
from bert_lightning.config import TrainConfig
from bert_lightning.data.randomness import Stream, torch_seed
from bert_lightning.errors import UserError
from bert_lightning.optim.ema import average_of
from bert_lightning.optim.time_budget import Budget
from bert_lightning.training.metrics import counts_of, training_scores, with_joint
from bert_lightning.training.module import PretrainingModule, TrainingModule
from bert_lightning.training.stops import StopConsensus, StopSignals

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
    work = counts_of(module.progress.train_sums)
    assert (work.steps, work.clipped) == (1, limit == 0.25)


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


def test_a_step_is_seeded_as_torch_would_but_for_devices_that_are_not_there(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = module_of(small_config(tmp_path))
    trainer = SimpleNamespace(accumulate_grad_batches=1)
    for name, value in (("trainer", trainer), ("global_step", 3), ("global_rank", 0)):
        monkeypatch.setattr(PretrainingModule, name, value)
    torch.manual_seed(torch_seed(module.config.drawn_seed, Stream.dropout, 3, 0, 0))
    drawn = torch.rand(3)
    monkeypatch.setattr("traceback.format_stack", pytest.fail)
    module.on_train_batch_start(None, 3)
    assert drawn.equal(torch.rand(3))


def test_a_strategy_that_shards_gets_the_model_and_its_average(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = module_of(small_config(tmp_path))
    sharded: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        "bert_lightning.training.module.shard", lambda *given: sharded.append(given)
    )
    module.configure_model()
    assert not sharded
    module.average = average_of(module.model)
    monkeypatch.setattr(PretrainingModule, "device_mesh", "mesh")
    module.configure_model()
    assert sharded == [(model, "mesh", "32-true") for model in (module.model, module.average)]


@pytest.mark.parametrize(
    ("precision", "fused"), [("32-true", True), ("bf16-mixed", True), ("16-mixed", False)]
)
def test_an_optimizer_is_fused_unless_fp16_has_to_unscale_its_gradients_first(
    small_config: Config, tmp_path: Path, precision: str, fused: bool
) -> None:
    config = small_config(tmp_path)
    config.trainer.precision = precision
    (group, *_) = module_of(config).configure_optimizers()["optimizer"].param_groups
    assert group["fused"] is fused


def test_a_step_adds_to_the_scores_and_its_loss_is_of_the_global_batch(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning divides by the accumulation and DDP by the ranks, what is the loss already."""
    module: Any = module_of(small_config(tmp_path))
    monkeypatch.setattr(
        PretrainingModule, "trainer", SimpleNamespace(accumulate_grad_batches=3, world_size=2)
    )
    sequences = pack_sequences(np.arange(5, 15), np.zeros(10), np.array([4, 6]))
    batch = PretrainBatch(
        sequences, torch.tensor([1, 5]), torch.tensor([6, 7]), {"nsp": torch.tensor([0, 1])},
        {"mlm": 8, "nsp": 12},
    )  # fmt: skip
    sums = module.model.sums(batch)
    loss = (sums["mlm"].nll / 8 + sums["nsp"].nll / 12).item()
    assert module.between_steps
    assert module.training_step(batch, 0).item() == pytest.approx(6 * loss)
    assert [part.item() for part in module.losses] == [pytest.approx(loss)]
    assert not module.losses[0].requires_grad
    assert not module.between_steps
    scored = training_scores(module.progress.train_sums, module.model.objectives)
    assert scored["mlm_loss"] == pytest.approx(sums["mlm"].nll.item() / 2)
    assert counts_of(module.progress.train_sums)[:3] == (2, 10, 4**2 + 6**2)


def test_the_joint_loss_is_that_of_the_objectives_that_have_one() -> None:
    weights = {"mlm": 1.0, "nsp": 0.5}
    scores = {"mlm_loss": 3.0, "nsp_loss": 2.0, "nsp_accuracy": 0.5}
    assert with_joint(scores, weights) == {"loss": 4.0, **scores}
    assert with_joint({"nsp_loss": 2.0}, weights) == {"loss": 1.0, "nsp_loss": 2.0}
    assert with_joint({"spearman": 0.5}, {"sentence": 1.0}) == {"spearman": 0.5}


def test_a_resumed_run_learns_at_the_rate_of_its_config(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path, "optim.schedule=linear", "optim.lr=0.3")
    module: Any = module_of(config)
    built = module.configure_optimizers()
    scheduler = built["lr_scheduler"]["scheduler"]
    configs = [SimpleNamespace(scheduler=scheduler)]
    monkeypatch.setattr(PretrainingModule, "trainer", SimpleNamespace(lr_scheduler_configs=configs))
    groups = built["optimizer"].param_groups
    for group in groups:
        group["lr"], group["weight_decay"] = 7.0, 7.0  # as a checkpoint of other options has them
    module.progress.resumed_at = 2
    module.on_train_start()
    assert [group["lr"] for group in groups] == [pytest.approx(0.3 * 4 / 6)] * len(groups)
    assert 7.0 not in [group["weight_decay"] for group in groups]


def test_a_budget_is_that_of_the_config_if_it_has_one(small_config: Config, tmp_path: Path) -> None:
    assert module_of(small_config(tmp_path)).progress.budget is None
    config = small_config(tmp_path, "optim.schedule=wsd", "optim.decay_fraction=0.25")
    config.optim.time_budget = "90s"
    timed = module_of(config)
    assert timed.progress.budget == Budget(90, 0.25)


@pytest.mark.parametrize("averaging", [False, True])
def test_a_loaded_checkpoint_restores_weights_and_progress_and_gets_the_loops_of_its_step(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, averaging: bool
) -> None:
    module: Any = module_of(small_config(tmp_path))
    module.average = average_of(module.model) if averaging else None
    monkeypatch.setattr(PretrainingModule, "trainer", "the trainer")
    monkeypatch.setattr("bert_lightning.training.module.loops_at", lambda *given: given)
    restored: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module.progress, "restore", lambda *given: restored.append(given))
    saved = {"validation_due": True}
    weights = {f"model.{name}": value for name, value in module.model.state_dict().items()}
    checkpoint = {
        "state_dict": weights, "global_step": 5, "bert_lightning": {"progress": saved}
    }  # fmt: skip
    module.on_load_checkpoint(checkpoint)
    assert restored == [("the trainer", saved, 5)]
    assert checkpoint["loops"] == ("the trainer", 5, True)
    assert module.load_state_dict(checkpoint["state_dict"], strict=True)


def test_a_checkpoint_of_a_version_that_kept_other_sums_is_refused(
    small_config: Config, tmp_path: Path
) -> None:
    module: Any = module_of(small_config(tmp_path))
    saved = {"train_sums": torch.zeros(1, len(module.progress.train_sums) - 3)}
    with pytest.raises(UserError, match=r"step 5 is of an earlier version.*init_from="):
        module.progress.restore(None, saved, 5)


def test_a_checkpoint_has_no_loops_as_they_follow_from_its_step(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = module_of(small_config(tmp_path))
    monkeypatch.setattr(PretrainingModule, "trainer", None)
    monkeypatch.setattr(module.progress, "to_checkpoint", lambda _: {"step": 5})
    module.description = {"format": 3}
    checkpoint = {"loops": {}, "global_step": 5}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint == {
        "global_step": 5,
        "bert_lightning": {"format": 3, "progress": {"step": 5}},
    }


def test_a_replay_is_advised_where_there_is_one(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(PretrainingModule):
        can_be_replayed = TrainingModule.can_be_replayed

    monkeypatch.setattr(PretrainingModule, "gradient_norm", lambda _: torch.tensor(1.0))
    for kind in (PretrainingModule, Other):
        module = kind(small_config(tmp_path), 50, 6, [100], {})
        module.losses.append(torch.tensor(torch.nan))
        trainer: Any = SimpleNamespace(global_step=2)
        with pytest.raises(UserError, match=r"not finite at step 3") as stopped:
            StopConsensus(module, StopSignals(), None).on_before_optimizer_step(trainer)
        assert ("bert-lightning replay" in str(stopped.value)) is (kind is PretrainingModule)
