"""Optimizers and their parameter groups."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from bert_lightning.config import OptimConfig, OptimizerName
from bert_lightning.extensions import find
from bert_lightning.optim.lamb import Lamb
from bert_lightning.optim.muon import Muon


def build_optimizer(model: nn.Module, config: OptimConfig, fused: bool = True) -> Optimizer:
    """Returns the optimizer; biases, norms and small embeddings have no weight decay.

    `fused` updates all parameters in one pass, but unscales 16-mixed's gradients only then: too
    late to clip them.
    """
    betas = (config.beta1, config.beta2)
    if config.own is None and config.optimizer is OptimizerName.adam:
        return Adam(model.parameters(), lr=config.lr, betas=betas, eps=config.eps, fused=fused)
    matrices: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        small = parameter.ndim < 2 or name.endswith(("position.weight", "token_type.weight"))
        by_muon = updated_by_muon(config, name, parameter)
        (matrices if by_muon else kept if small else decayed).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    if config.own is not None:
        own: Optimizer = find("optimizer", config.own, "optim.own")(groups, config)
        return own
    if config.optimizer is OptimizerName.lamb:
        groups[1]["adapted"] = False
        return Lamb(groups, lr=config.lr, betas=betas, eps=config.eps)
    rest = AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=fused)
    if config.optimizer is OptimizerName.adamw:
        return rest
    decay = config.weight_decay
    muon = Muon(matrices, config.matrix_lr, decay, config.momentum)
    return CombinedOptimizer([muon, rest])


def updated_by_muon(config: OptimConfig, name: str, parameter: nn.Parameter) -> bool:
    """Returns whether Muon updates a parameter, a matrix between layers; AdamW updates the rest."""
    if config.optimizer is not OptimizerName.muon or config.own is not None:
        return False
    return parameter.ndim == 2 and name.startswith(("encoder.blocks.", "pooler.", "mlm_head.dense"))


def states_per_weight(config: OptimConfig, name: str, parameter: nn.Parameter) -> int:
    """Returns the values of optimizer state for each weight of a parameter.

    Muon keeps its momentum; the others keep Adam's two moments, as one of your own is assumed to.
    """
    return 1 if updated_by_muon(config, name, parameter) else 2


class CombinedOptimizer(Optimizer):
    """Several optimizers that each update parameters of their own, as one."""

    def __init__(self, optimizers: list[Optimizer]) -> None:
        self.optimizers = optimizers
        # The very groups of the optimizers, so that a schedule sets their learning rates.
        super().__init__([group for o in optimizers for group in o.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        first, *others = self.optimizers
        result = first.step(closure) if closure is not None else first.step()
        for optimizer in others:
            optimizer.step()
        return result

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for o in self.optimizers for group in o.param_groups]
