import math

import pytest
import torch

from bert_lightning.config import ModelConfig, OptimConfig, OptimizerName, ScheduleName
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.training.optim import build_optimizer, schedule


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


@pytest.mark.parametrize(
    ("name", "middle"),
    [
        (ScheduleName.constant, 1.0),
        (ScheduleName.linear, 0.5),
        (ScheduleName.cosine, 0.5),
    ],
)
def test_schedules_warm_up_and_end_where_they_say(name: ScheduleName, middle: float) -> None:
    share = schedule(OptimConfig(schedule=name, warmup_steps=10), steps=110)
    assert [share(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert share(10) == 1.0
    assert share(60) == pytest.approx(middle)
    assert share(110) == pytest.approx(1.0 if name is ScheduleName.constant else 0.0)
    if name is ScheduleName.cosine:
        assert share(35) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
