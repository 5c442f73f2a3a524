import math

import pytest
import torch

from bert_lightning.config import ModelConfig, OptimConfig, OptimizerName, ScheduleName
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.training.optim import build_optimizer, build_schedule, schedule


def test_matrices_decay_and_biases_norms_and_small_embeddings_do_not() -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=100)
    decayed, kept = build_optimizer(model, OptimConfig(weight_decay=0.01)).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.01, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert len(decayed["params"]) + len(kept["params"]) == len(names)
    decayed_names = {names[id(parameter)] for parameter in decayed["params"]}
    assert "encoder.embeddings.word.weight" in decayed_names
    assert "encoder.blocks.0.attention.query_key_value.weight" in decayed_names
    kept_names = {names[id(parameter)] for parameter in kept["params"]}
    assert "encoder.embeddings.position.weight" in kept_names
    assert all(
        name.endswith(("bias", "norm.weight", "position.weight", "token_type.weight"))
        for name in kept_names
    )


def test_adam_has_one_group_without_decay() -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=100)
    config = OptimConfig(optimizer=OptimizerName.adam, lr=0.01, weight_decay=0.0)
    optimizer = build_optimizer(model, config)
    assert isinstance(optimizer, torch.optim.Adam)
    assert not isinstance(optimizer, torch.optim.AdamW)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01]


def test_muon_takes_the_matrices_between_layers_and_adamw_the_rest() -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=100)
    config = OptimConfig(optimizer=OptimizerName.muon, lr=0.5, matrix_lr=0.25, weight_decay=0.01)
    matrices, decayed, kept = build_optimizer(model, config).param_groups
    assert [group["lr"] for group in (matrices, decayed, kept)] == [0.25, 0.5, 0.5]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    shown = [{names[id(p)] for p in group["params"]} for group in (matrices, decayed, kept)]
    assert set.union(*shown) == set(names.values())
    assert shown[1] == {"encoder.embeddings.word.weight", "nsp_head.weight"}
    assert "pooler.dense.weight" in shown[0]
    assert all(name.endswith(".weight") and "norm" not in name for name in shown[0])


def test_two_optimisers_as_one_are_the_two() -> None:
    """Against stepping torch's own two side by side, with a state saved and loaded in between."""

    def gradients(model: torch.nn.Module, step: int) -> None:
        torch.manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)

    def model() -> BertForPreTraining:
        torch.manual_seed(0)
        return BertForPreTraining(ModelConfig(), vocab_size=100)

    config = OptimConfig(optimizer=OptimizerName.muon, schedule=ScheduleName.linear, warmup_steps=2)
    ours, theirs = model(), model()
    together = build_optimizer(ours, config)
    rates = build_schedule(together, config, 8)
    muon, adamw = build_optimizer(theirs, config).optimizers
    for step in range(6):
        if step == 3:
            state = together.state_dict()
            together = build_optimizer(ours, config)
            rates = build_schedule(together, config, 8)
            together.load_state_dict(state)
            rates.last_epoch = step
        for group in (*muon.param_groups, *adamw.param_groups):
            peak = config.matrix_lr if group in muon.param_groups else config.lr
            group["lr"] = peak * schedule(config, 8)(step)
        for network in (ours, theirs):
            gradients(network, step)
        together.step()
        rates.step()
        muon.step()
        adamw.step()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other), step


@pytest.mark.parametrize(
    ("name", "middle"),
    [
        (ScheduleName.constant, 1.0),
        (ScheduleName.linear, 0.5),
        (ScheduleName.cosine, 0.5),
        (ScheduleName.wsd, 1.0),
    ],
)
def test_schedules_warm_up_and_end_where_they_say(name: ScheduleName, middle: float) -> None:
    share = schedule(OptimConfig(schedule=name, warmup_steps=10), steps=110)
    assert [share(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert share(10) == 1.0
    assert share(60) == pytest.approx(middle)
    assert share(110) == pytest.approx(1.0 if name is ScheduleName.constant else 0.0)
    if name is ScheduleName.wsd:  # the last 33 of 110 steps
        assert [share(step) for step in (77, 88, 99)] == pytest.approx([1.0, 22 / 33, 11 / 33])
    if name is ScheduleName.cosine:
        assert share(35) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
