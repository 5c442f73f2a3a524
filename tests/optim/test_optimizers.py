import io
import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from bert_lightning.config import ModelConfig, OptimConfig, OptimizerName, ScheduleName
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.optim.lamb import Lamb
from bert_lightning.optim.optimizers import build_optimizer, states_per_weight
from bert_lightning.optim.schedules import follow_config, schedule


def test_matrices_decay_and_biases_norms_and_small_embeddings_do_not() -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=100)
    decayed, kept = build_optimizer(
        model, OptimConfig(OptimizerName.adamw, weight_decay=0.01)
    ).param_groups
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

    config = OptimConfig(
        OptimizerName.muon,
        lr=1e-3,
        matrix_lr=0.03,
        weight_decay=0.01,
        schedule=ScheduleName.linear,
        warmup_steps=2,
    )
    ours, theirs = model(), model()
    together = build_optimizer(ours, config)
    rates = LambdaLR(together, schedule(config, 8))
    muon, adamw = build_optimizer(theirs, config).optimizers
    for step in range(6):
        if step == 3:
            state = together.state_dict()
            together = build_optimizer(ours, config)
            rates = LambdaLR(together, schedule(config, 8))
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


def lamb_written_out(
    weight: Tensor, gradients: list[Tensor], lr: float, decay: float, adapted: bool
) -> Tensor:
    """Algorithm 2 of the paper, number by number."""
    beta1, beta2, eps = 0.9, 0.99, 1e-6
    w = weight.flatten().tolist()
    m, v = [0.0] * len(w), [0.0] * len(w)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.flatten().tolist()
        m = [beta1 * m[i] + (1 - beta1) * g[i] for i in range(len(w))]
        v = [beta2 * v[i] + (1 - beta2) * g[i] ** 2 for i in range(len(w))]
        u = [
            (m[i] / (1 - beta1**t)) / (math.sqrt(v[i] / (1 - beta2**t)) + eps) + decay * w[i]
            for i in range(len(w))
        ]
        length, of_update = (math.sqrt(sum(x**2 for x in values)) for values in (w, u))
        ratio = length / of_update if adapted and length > 0 and of_update > 0 else 1.0
        w = [w[i] - lr * ratio * u[i] for i in range(len(w))]
    return torch.tensor(w, dtype=torch.float64).reshape(weight.shape)


def test_lamb_is_the_papers_algorithm() -> None:
    torch.manual_seed(0)
    shapes = [(5, 3), (4,), (2, 2), (3, 3), (6,)]
    initial = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    initial[2].zero_()  # of no length, so its first ratio is 1
    gradients = [[torch.randn_like(weight) for weight in initial] for _ in range(7)]
    for each in gradients:
        each[3].zero_()  # without decay its update has no length
    parameters = [torch.nn.Parameter(weight.clone()) for weight in initial]
    groups = [
        {"params": parameters[:3], "weight_decay": 0.1},
        {"params": parameters[3:4]},
        {"params": parameters[4:], "adapted": False},
    ]
    optimizer = Lamb(groups, lr=0.05, betas=(0.9, 0.99))
    for each in gradients:
        for parameter, gradient in zip(parameters, each, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    for place, parameter in enumerate(parameters):
        decay, adapted = 0.1 if place < 3 else 0.0, place < 4
        of_this = [each[place] for each in gradients]
        expected = lamb_written_out(initial[place], of_this, 0.05, decay, adapted)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(parameters[3], initial[3])


def test_lamb_passes_over_what_has_no_gradient_yet() -> None:
    torch.manual_seed(0)
    late, early = (torch.nn.Parameter(torch.randn(3, 2).double()) for _ in range(2))
    start = late.detach().clone()
    optimizer = Lamb([late, early], lr=0.1, betas=(0.9, 0.99))
    gradients = [torch.randn(3, 2).double() for _ in range(4)]
    for step, gradient in enumerate(gradients):
        early.grad = gradient
        late.grad = gradient if step >= 2 else None
        optimizer.step()
    expected = lamb_written_out(start, gradients[2:], 0.1, 0.0, adapted=True)
    torch.testing.assert_close(late.detach(), expected, rtol=1e-12, atol=1e-14)


def test_lamb_goes_on_from_its_saved_state() -> None:
    config = OptimConfig(OptimizerName.lamb, lr=1e-3, weight_decay=0.01)
    torch.manual_seed(0)
    ours = BertForPreTraining(ModelConfig(), vocab_size=100)
    theirs = deepcopy(ours)
    whole, stopped = (build_optimizer(model, config) for model in (ours, theirs))
    for step in range(5):
        if step == 3:
            file = io.BytesIO()
            torch.save(stopped.state_dict(), file)
            file.seek(0)
            stopped = build_optimizer(theirs, config)
            stopped.load_state_dict(torch.load(file, weights_only=True))
        for model, optimizer in ((ours, whole), (theirs, stopped)):
            torch.manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_lamb_adapts_what_decays_even_where_the_decay_is_0() -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=100)
    for decay in (0.01, 0.0):
        config = OptimConfig(optimizer=OptimizerName.lamb, weight_decay=decay)
        decayed, kept = build_optimizer(model, config).param_groups
        assert (decayed["weight_decay"], decayed["adapted"]) == (decay, True)
        assert (kept["weight_decay"], kept["adapted"]) == (0.0, False)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        assert all(
            names[id(parameter)].endswith(
                ("bias", "norm.weight", "position.weight", "token_type.weight")
            )
            for parameter in kept["params"]
        )


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_as_many_moments_are_kept_as_are_counted(optimizer: OptimizerName) -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=100)
    config = OptimConfig(optimizer=optimizer, weight_decay=0.0)
    built = build_optimizer(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    built.step()
    states: dict[torch.Tensor, object] = {}
    for part in getattr(built, "optimizers", [built]):
        states |= part.state
    for name, parameter in model.named_parameters():
        kept = [value for value in states[parameter].values() if value.shape == parameter.shape]
        assert len(kept) == states_per_weight(config, name, parameter), name


@pytest.mark.parametrize("name", OptimizerName)
@pytest.mark.parametrize("fused", [True, False])
def test_every_optimizer_has_the_options_of_its_config(name: OptimizerName, fused: bool) -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=100)
    adam = name is OptimizerName.adam
    config = OptimConfig(
        name,
        lr=0.5,
        matrix_lr=0.25,
        beta1=0.7,
        beta2=0.8,
        eps=0.125,
        weight_decay=0.0 if adam else 0.01,
        momentum=0.6,
    )
    groups = build_optimizer(model, config, fused).param_groups
    by_adam = [group for group in groups if "betas" in group]
    assert [(group["lr"], group["betas"], group["eps"]) for group in by_adam] == [
        (0.5, (0.7, 0.8), 0.125) for _ in by_adam
    ]
    assert len(by_adam) == (1 if adam else 2)
    assert {group.get("fused", fused) for group in by_adam} == {fused}
    assert build_optimizer(model, config).param_groups[-1].get("fused", True)
    assert [group["weight_decay"] for group in by_adam] == [config.weight_decay, 0.0][
        : len(by_adam)
    ]
    for group in groups[: -len(by_adam)]:  # of Muon
        assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.25, 0.01, 0.6)


@pytest.mark.parametrize("name", OptimizerName)
def test_a_closure_computes_the_gradient_once_a_step(name: OptimizerName) -> None:
    torch.manual_seed(0)
    ours = BertForPreTraining(ModelConfig(), vocab_size=50)
    theirs = deepcopy(ours)
    config = OptimConfig(name, weight_decay=0.0)
    calls = 0

    def loss(model: torch.nn.Module) -> Tensor:
        total = sum((parameter**2).sum() for parameter in model.parameters())
        assert isinstance(total, Tensor)
        total.backward()
        return total

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        return loss(ours)

    returned = build_optimizer(ours, config).step(closure)
    expected = loss(theirs)
    build_optimizer(theirs, config).step()
    assert calls == 1
    assert returned is not None
    assert torch.equal(torch.as_tensor(returned), expected)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_schedule_stays_at_its_end_and_needs_neither_warmup_nor_a_step_after_it() -> None:
    for name in ScheduleName:
        config = OptimConfig(schedule=name, warmup_steps=10, decay_fraction=0.3)
        constant = name is ScheduleName.constant
        fraction = schedule(config, steps=110)
        assert [fraction(step) for step in (110, 111, 500)] == pytest.approx([float(constant)] * 3)
        falls = [fraction(step) for step in range(9, 111)]
        assert falls == sorted(falls, reverse=True)
        assert schedule(replace(config, warmup_steps=0), steps=110)(0) == 1.0
        assert 0 <= schedule(config, steps=10)(10) <= 1
    linear = OptimConfig(schedule=ScheduleName.linear, warmup_steps=10)
    assert [schedule(linear, steps=11)(step) for step in (10, 11)] == [1.0, 0.0]
    wsd = schedule(OptimConfig(schedule=ScheduleName.wsd, warmup_steps=0, decay_fraction=0.001), 9)
    assert [wsd(step) for step in (7, 8, 9)] == [1.0, 1.0, 0.0]  # one step of decay at least
    assert wsd(20) == 0.0


def test_a_restored_schedule_follows_a_config_that_has_changed() -> None:
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]

    def built(lrs: tuple[float, float], steps: int) -> tuple[torch.optim.SGD, LambdaLR]:
        groups = [{"params": [w], "lr": lr} for w, lr in zip(weights, lrs, strict=True)]
        optimizer = torch.optim.SGD(groups, momentum=0.01 * steps)
        config = OptimConfig(schedule=ScheduleName.linear, warmup_steps=2)
        return optimizer, LambdaLR(optimizer, schedule(config, steps))

    before, rates = built((0.1, 0.2), 8)
    for _ in range(5):
        before.step()
        rates.step()
    after, followed = built((1.0, 3.0), 10)
    options = [{k: v for k, v in group.items() if k != "params"} for group in after.param_groups]
    after.load_state_dict(before.state_dict())
    followed.load_state_dict(rates.state_dict())
    assert [group["momentum"] for group in after.param_groups] == [0.08, 0.08]
    follow_config(followed, options, 5)
    assert [group["momentum"] for group in after.param_groups] == [0.1, 0.1]
    whole, expected = built((1.0, 3.0), 10)
    for _ in range(5):
        whole.step()
        expected.step()
    for step in range(5):
        assert [group["lr"] for group in after.param_groups] == pytest.approx(
            [group["lr"] for group in whole.param_groups]
        ), step
        for optimizer, scheduler in ((after, followed), (whole, expected)):
            optimizer.step()
            scheduler.step()


def test_lamb_has_the_papers_defaults_and_leaves_what_has_no_gradient() -> None:
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = Lamb([{"params": weights[:1]}, {"params": weights[1:]}], lr=0.1)
    weights[1].grad = torch.ones(2)
    assert {name: optimizer.defaults[name] for name in ("betas", "eps", "weight_decay")} == {
        "betas": (0.9, 0.999),
        "eps": 1e-6,
        "weight_decay": 0.0,
    }
    optimizer.step()  # the first group has none, the second has
    assert torch.equal(weights[0], torch.ones(2))
    assert weights[1].max() < 1
    assert weights[0] not in optimizer.state


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
    share = schedule(OptimConfig(schedule=name, warmup_steps=10, decay_fraction=0.3), steps=110)
    assert [share(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert share(10) == 1.0
    assert share(60) == pytest.approx(middle)
    assert share(110) == pytest.approx(1.0 if name is ScheduleName.constant else 0.0)
    if name is ScheduleName.wsd:  # the last 33 of 110 steps
        assert [share(step) for step in (77, 88, 99)] == pytest.approx([1.0, 22 / 33, 11 / 33])
    if name is ScheduleName.cosine:
        assert share(35) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
