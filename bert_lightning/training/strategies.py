"""Lightning's strategies for several devices, and what this model needs of them.

Whatever the strategy, a checkpoint is one file with whole tensors, written and read by the
Trainer's CheckpointIO. `ddp` and `fsdp` resume from each other's, and from those of one device.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.strategies import (
    DDPStrategy,
    ModelParallelStrategy,
    ParallelStrategy,
    Strategy,
)
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from bert_lightning.config import RunConfig, StrategyName
from bert_lightning.model.bert import Bert, Model
from bert_lightning.optim.optimizers import CombinedOptimizer
from bert_lightning.runs.processes import MEETING_SECONDS, meeting
from bert_lightning.sizing.devices import Devices
from bert_lightning.sizing.launcher import RANK_0, launcher

_log = logging.getLogger(__name__)
_TIMEOUT = timedelta(seconds=MEETING_SECONDS)


def build_strategy(config: RunConfig, devices: Devices) -> Strategy | str:
    """Returns the strategy of Lightning's Trainer."""
    nccl = devices.on_gpu and dist.is_nccl_available()
    if devices.on_gpu and not nccl and devices.world_size > 1:
        _log.warning("torch has no NCCL here, as on Windows: the GPUs exchange gradients over gloo")
    backend = None if nccl else "gloo"
    if config.strategy.name is StrategyName.fsdp:
        return ShardedStrategy(
            data_parallel_size=devices.world_size,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=backend,
            timeout=_TIMEOUT,
        )
    if launcher() == "Ray":
        from ray.train.lightning import RayDDPStrategy

        return RayDDPStrategy(process_group_backend=backend, gradient_as_bucket_view=True)
    if config.strategy.name is StrategyName.auto and devices.world_size == 1:
        return "auto"
    return DataParallelStrategy(
        process_group_backend=backend, timeout=_TIMEOUT, gradient_as_bucket_view=True
    )


def environments() -> list[ClusterEnvironment]:
    """Returns what tells Lightning the ranks, where it does not find them by itself."""
    if launcher() != "Ray":
        return []
    from ray.train.lightning import RayLightningEnvironment

    return [RayLightningEnvironment()]


class _Meeting(ParallelStrategy):
    """Says what it waits for, and stops at a signal, until all processes of a launcher are there.

    Those that the first process started itself are watched by it.
    """

    num_processes: int
    num_nodes: int

    def setup_environment(self) -> None:
        environment = self.cluster_environment
        assert environment is not None
        if self.num_nodes == 1 and RANK_0 in os.environ:
            super().setup_environment()
            return
        place = f"{environment.main_address}:{environment.main_port}"
        rank = environment.node_rank() * self.num_processes + environment.local_rank()
        with meeting(place, rank, self.num_nodes * self.num_processes):
            super().setup_environment()


class DataParallelStrategy(_Meeting, DDPStrategy):
    """DDP: each rank keeps the whole model, and its gradients in the buckets that sum them.

    Not a static graph: with gradient accumulation torch's DDP fails with it
    (https://github.com/pytorch/pytorch/issues/143580), and it saves only the search for unused
    parameters, which is off.
    """


class ShardedStrategy(_Meeting, ModelParallelStrategy):
    """FSDP2: each rank keeps a shard of weights, gradients and optimizer state; see :func:`shard`.

    Lightning would read a checkpoint past the CheckpointIO, and would take the numbers of an
    optimizer's state for places in `model.parameters()`: wrong for an optimizer with groups.
    """

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def load_checkpoint(
        self, checkpoint_path: _PATH, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        options = StateDictOptions(full_state_dict=True, strict=strict)
        set_model_state_dict(self.lightning_module, checkpoint["state_dict"], options=options)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Returns the state as one device has it, on all ranks but the first without tensors."""

        def gathered_on_first(value: DTensor) -> Tensor | None:
            tensor = value.full_tensor()
            return tensor.cpu() if self.is_global_zero else None

        state = Strategy.optimizer_state(self, optimizer)
        return tree_map_only(DTensor, gathered_on_first, state)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_sharded(state, optimizer))


def _sharded(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Returns an optimizer's whole state with this rank's shards of its tensors."""
    if isinstance(optimizer, CombinedOptimizer):
        pairs = zip(state["optimizers"], optimizer.optimizers, strict=True)
        return {"optimizers": [_sharded(*pair) for pair in pairs]}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shards = {
        number: {name: _shard_like(parameters[number], value) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": shards}


def _shard_like(parameter: DTensor, value: Tensor) -> Tensor:
    if value.shape != parameter.shape:
        return value  # the number of updates
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def shard(model: Bert, mesh: DeviceMesh, precision: str) -> None:
    """Shards a model over the devices of a mesh, in place; a sharded one stays unchanged.

    Each block is gathered while it computes. What is outside the blocks is used first and last,
    the word embeddings in both places, and stays whole from forward to backward. Under bf16 the
    blocks are gathered in bf16, to which autocast would cast them.
    """
    if isinstance(model, FSDPModule):
        return
    devices, policy = mesh["data_parallel"], MixedPrecisionPolicy()
    if precision.startswith("bf16"):
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for block in model.encoder.blocks:
        fully_shard(block, mesh=devices, mp_policy=policy)
    fully_shard(model, mesh=devices)


def gradient_norm(model: nn.Module, kind: float = 2.0) -> Tensor:
    """Returns a norm of the whole gradient; all ranks call it together."""
    return norm_of([p.grad for p in model.parameters() if p.grad is not None], kind)


def norm_of(tensors: Iterable[Tensor], kind: float = 2.0) -> Tensor:
    """Returns the norm of all tensors as one vector; all ranks call it together."""
    norm = nn.utils.get_total_norm(tensors, kind)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def is_sharded(model: Bert) -> bool:
    """Returns whether each rank holds a shard of the weights."""
    return isinstance(cast(nn.Module, model), FSDPModule)


def gathered(model: Model) -> Model:
    """Returns the model or, if it is sharded, a copy on the CPU; all ranks call it together."""
    if not is_sharded(model):
        return model
    weights = {name: value.full_tensor().cpu() for name, value in model.state_dict().items()}
    whole = model.another()
    whole.to(model.encoder.embeddings.word.weight.dtype)
    whole.load_state_dict(weights)
    return whole
