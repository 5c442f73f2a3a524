"""How several devices share the work: Lightning's strategies, and what this model needs of them.

Whatever the strategy, a checkpoint is one file with whole tensors, written and read by the
Trainer's CheckpointIO. `ddp` and `fsdp` go on from each other's, and from those of one device.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    ModelParallelStrategy,
    Strategy,
)
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from bert_lightning.config import StrategyName, TrainConfig
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.optim.optimizers import Together
from bert_lightning.sizing.devices import Devices


def build_strategy(config: TrainConfig, devices: Devices) -> Strategy | str:
    """What Lightning's Trainer is told about sharing the work.

    Raises:
        UserError: torchrun or SLURM started another number of processes than the options say.
    """
    _check_launched(devices)
    backend = "gloo" if devices.accelerator == "cpu" else None
    match config.strategy.name:
        case StrategyName.fsdp:
            return ShardedStrategy(devices.world_size, backend)
        case StrategyName.deepspeed:
            return ZeroStrategy(config.trainer.precision)
        case StrategyName.auto if devices.world_size == 1:
            return "auto"
        case _:
            return DDPStrategy(process_group_backend=backend)


def _check_launched(devices: Devices) -> None:
    # Lightning asks the launcher alone: with fewer processes nobody would see a part of each batch.
    if TorchElasticEnvironment.detect():
        launcher, total, per_node = "torchrun", "WORLD_SIZE", "LOCAL_WORLD_SIZE"
    elif SLURMEnvironment.detect():
        launcher, total, per_node = "SLURM", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"
    else:
        return
    started = int(os.environ[total])
    if started > 1 and per_node not in os.environ:
        raise UserError(
            f"{launcher} started {started} processes, and does not say how many on a node: "
            "give --ntasks-per-node instead of --ntasks"
        )
    local = int(os.environ.get(per_node, 1))
    if (started, local) != (devices.world_size, devices.count):
        raise UserError(
            f"{launcher} started {started} processes, {local} on a node; trainer.num_nodes="
            f"{devices.num_nodes} and trainer.devices={devices.devices} are {devices.world_size}, "
            f"{devices.count} on a node: trainer.num_nodes={started // local} "
            f"trainer.devices={local} goes with what was started"
        )


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2: every device keeps its share of weights, gradients and moments; see :func:`shard`.

    Lightning would read a checkpoint past the CheckpointIO, and would take the numbers of an
    optimiser's state for places in `model.parameters()`: wrong for an optimiser with groups.

    Args:
        world_size: devices of all nodes.
        process_group_backend: None is the one of the device.
    """

    def __init__(self, world_size: int, process_group_backend: str | None) -> None:
        super().__init__(
            data_parallel_size=world_size,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )

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
        """The state as one device would have it; its tensors are None on all ranks but the first.

        All ranks call it together.
        """

        def gathered_on_first(part: DTensor) -> Tensor | None:
            tensor = part.full_tensor()
            return tensor.cpu() if self.is_global_zero else None

        state = Strategy.optimizer_state(self, optimizer)
        return tree_map_only(DTensor, gathered_on_first, state)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_divided(state, optimizer))


def _divided(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimiser's whole state, with this device's shares of the tensors that have one."""
    if isinstance(optimizer, Together):
        parts = zip(state["optimizers"], optimizer.optimizers, strict=True)
        return {"optimizers": [_divided(*part) for part in parts]}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shares = {
        number: {name: _share(value, parameters[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": shares}


def _share(value: Tensor, parameter: DTensor) -> Tensor:
    if value.shape != parameter.shape:
        return value  # the number of updates
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def shard(model: BertForPreTraining, mesh: DeviceMesh, precision: str) -> None:
    """Divides a model among the devices of a mesh, in place; one that is divided already stays.

    Each block is gathered for as long as it is at work. What is outside the blocks is used first
    and last, the words' vectors in both places, and stays whole from forward to backward. Under
    bf16 the blocks are gathered in it, which is what autocast would cast them to.
    """
    if isinstance(model, FSDPModule):
        return
    devices, policy = mesh["data_parallel"], MixedPrecisionPolicy()
    if precision.startswith("bf16"):
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for block in model.encoder.blocks:
        fully_shard(block, mesh=devices, mp_policy=policy)
    fully_shard(model, mesh=devices)


def gradient_norm(model: nn.Module, strategy: Strategy) -> Tensor:
    """The norm of the gradient of all parameters, of which this device may have a part only.

    All ranks call it together, between the backward pass and the update.
    """
    if isinstance(strategy, ZeroStrategy):
        return strategy.gradient_norm()
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def gathered(model: BertForPreTraining) -> BertForPreTraining:
    """The whole model in this process's memory: itself, unless it is divided among devices.

    All ranks call it together.
    """
    if not isinstance(model, FSDPModule):
        return model
    weights = {name: part.full_tensor().cpu() for name, part in model.state_dict().items()}
    word = model.encoder.embeddings.word
    whole = BertForPreTraining(model.config, word.num_embeddings).to(word.weight.dtype)
    whole.load_state_dict(weights)
    return whole


class ZeroStrategy(DeepSpeedStrategy):
    """DeepSpeed's ZeRO stage 2 (Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054).

    Every device keeps all weights, and its share of gradients and moments. DeepSpeed keeps the
    moments in a form of its own, so its checkpoints have the weights alone.

    Args:
        precision: `32-true`, or `bf16-mixed` as autocast. DeepSpeed's own bf16 would cast the
            parameters, and with them the sums over a batch's losses.
    """

    def __init__(self, precision: str) -> None:
        # DeepSpeed shows speeds by the batch size, and batches of no fixed size have none.
        super().__init__(stage=2, logging_batch_size_per_gpu=1)
        assert isinstance(self.config, dict)
        self.config["bf16"] = {"enabled": False}
        self.config["torch_autocast"] = {
            "enabled": precision.startswith("bf16"),
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # those whose gradients would be added up in bf16
        }

    def backward(
        self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        # Both Lightning and DeepSpeed would divide by the accumulation.
        return super().backward(closure_loss, optimizer, *args, scale_wrt_gas=False, **kwargs)

    def gradient_norm(self) -> Tensor:
        """That of the step, and 0 as long as it is not its last micro-batch."""
        if not self.deepspeed_engine.is_gradient_accumulation_boundary():
            return torch.zeros((), device=self.root_device)
        norm: Tensor = self.optimizers[0].scaled_global_norm()  # type: ignore[attr-defined]
        return torch.where(norm < 0, torch.nan, norm)  # DeepSpeed says -1 of one that is not finite

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: _PATH, storage_options: Any | None = None
    ) -> None:
        del checkpoint["optimizer_states"]
        Strategy.save_checkpoint(self, checkpoint, filepath, storage_options)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return {}

    def load_checkpoint(
        self, checkpoint_path: _PATH, weights_only: bool | None = None
    ) -> dict[str, Any]:
        raise UserError(
            f"{checkpoint_path}: strategy=deepspeed cannot go on from a checkpoint; strategy=fsdp "
            f"and strategy=ddp can, and init_from={checkpoint_path} starts a new run from its "
            "weights"
        )
