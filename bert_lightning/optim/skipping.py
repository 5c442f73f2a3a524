"""Updates that a device leaves out by itself, so that the host need not wait to decide on them."""

from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from bert_lightning.optim.muon import Muon
from bert_lightning.optim.optimizers import CombinedOptimizer


def can_skip(optimizer: Optimizer) -> bool:
    """Returns whether :func:`skip_where` works: for Muon, and for Adam and AdamW if they are fused.

    LAMB cannot, whose steps are so large that a wait for each one costs nothing; nor can an
    optimizer of your own.
    """
    if isinstance(optimizer, CombinedOptimizer):
        return all(map(can_skip, optimizer.optimizers))
    if isinstance(optimizer, Adam | AdamW):
        return bool(optimizer.defaults["fused"])
    return isinstance(optimizer, Muon)


def skip_where(optimizer: Optimizer, found: Tensor) -> None:
    """Has the next update change neither weights nor state if `found`, `()` bool, holds.

    Torch's fused optimizers read the attribute `found_inf`, which its GradScaler sets for them.
    """
    for each in getattr(optimizer, "optimizers", [optimizer]):
        each.found_inf = found.float()
