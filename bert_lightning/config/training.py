"""What is minimised, how, on what, and what accompanies it."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bert_lightning.errors import UserError

_SECONDS = {"s": 1, "min": 60, "h": 3600}


class OptimizerName(Enum):
    adam = "adam"
    adamw = "adamw"
    lamb = "lamb"
    muon = "muon"


class ScheduleName(Enum):
    constant = "constant"
    linear = "linear"
    cosine = "cosine"
    wsd = "wsd"


class StrategyName(Enum):
    auto = "auto"
    ddp = "ddp"
    fsdp = "fsdp"
    deepspeed = "deepspeed"


class LoggerName(Enum):
    tensorboard = "tensorboard"
    csv = "csv"


@dataclass
class ObjectiveConfig:
    """The joint loss: `mlm_weight` · MLM + `nsp_weight` · NSP."""

    mlm_weight: float = 1.0
    nsp_weight: float = 1.0
    unigram_start: bool = True
    """Whether the MLM head's bias starts as the log frequency of each word: training then begins
    at the floor, instead of taking its first steps to find it. Not for weights of `init_from`."""

    def __post_init__(self) -> None:
        if self.mlm_weight < 0 or self.nsp_weight < 0 or self.mlm_weight + self.nsp_weight == 0:
            raise UserError(
                f"objective.mlm_weight={self.mlm_weight:g}, "
                f"objective.nsp_weight={self.nsp_weight:g}: weights must be 0 or more, "
                "and not both 0"
            )


@dataclass
class OptimConfig:
    """The optimiser and the course of its learning rate."""

    optimizer: OptimizerName = OptimizerName.adamw
    """`lamb` is for large batches (You et al., 2020, arXiv:1904.00962): its `lr` is the share of
    its length that a matrix moves by in a step. `muon` updates the matrices between layers (Jordan
    et al., 2024, https://kellerjordan.github.io/posts/muon), and AdamW all the rest."""
    lr: float = 1e-3
    """Peak learning rate."""
    matrix_lr: float = 0.03
    """Peak learning rate of what Muon updates."""
    momentum: float = 0.95
    """Muon's."""
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    """Decay of the matrices; biases, LayerNorm and embeddings of position and type have none."""
    schedule: ScheduleName = ScheduleName.linear
    """How the rate falls from its peak to 0 at the last step, or stays (`constant`); `wsd` stays
    and then falls linearly (warm-up, stable, decay; Hu et al., 2024, arXiv:2404.06395)."""
    decay_share: float = 0.3
    """The last part of the run, in which the rate of `wsd` falls."""
    warmup_steps: int = 0
    """Optimiser steps over which the rate rises from 0 to its peak."""
    ema_decay: float | None = None
    """Decay of an exponential moving average of the weights, such as 0.999, which is what is
    validated, tested, saved for use and exported; training goes on with the weights themselves.
    It forgets faster in the first 9 / (1 - decay) steps, whose start is random. null keeps none."""
    budget: str | None = None
    """Training time after which the run ends, as 90s, 8min or 1.5h, in place of
    `trainer.max_steps`; for `wsd`, whose rate begins to fall when `decay_share` of it is left.
    Validation does not count. The summary says how to repeat the run by its steps."""

    def __post_init__(self) -> None:
        for name in ("lr", "matrix_lr"):
            if getattr(self, name) <= 0:
                raise UserError(f"optim.{name}={getattr(self, name):g} must be above 0")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UserError(
                f"optim.ema_decay={self.ema_decay:g} must be above 0 and below 1, such as 0.999; "
                "null keeps no average"
            )
        if not 0 < self.decay_share <= 1:
            raise UserError(f"optim.decay_share={self.decay_share:g} must be above 0 and at most 1")
        if self.budget_seconds is not None and self.schedule is not ScheduleName.wsd:
            raise UserError(
                f"optim.budget={self.budget} with optim.schedule={self.schedule.value}: the rate "
                "would have to fall before the length of the run is known; use optim.schedule=wsd"
            )
        if self.warmup_steps < 0:
            raise UserError(f"optim.warmup_steps={self.warmup_steps} must be 0 or more")
        if self.optimizer is OptimizerName.adam and self.weight_decay:
            raise UserError(
                f"optim.weight_decay={self.weight_decay:g} with optim.optimizer=adam would be "
                "added to the gradient, which Adam rescales; use optim.optimizer=adamw"
            )

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds; None where there is none."""
        if self.budget is None:
            return None
        found = re.fullmatch(r"(\d+\.?\d*) *(s|min|h)", self.budget)
        if found is None or float(found[1]) <= 0:
            raise UserError(f"optim.budget={self.budget} is no time: write it as 90s, 8min or 1.5h")
        return float(found[1]) * _SECONDS[found[2]]


@dataclass
class StrategyConfig:
    """How several devices share the work; the strategies are Lightning's own."""

    name: StrategyName = StrategyName.auto
    """`auto` is one device, or ddp where there are more; fsdp and deepspeed divide among GPUs what
    each device would hold of the model's state."""


@dataclass
class LoggerConfig:
    """Where the curves go."""

    name: LoggerName = LoggerName.tensorboard


@dataclass
class CallbacksConfig:
    """What accompanies a run."""

    save_every_n_steps: int = 100
    """Optimiser steps between checkpoints: what a run that is killed loses at most."""
    save_top_k: int = 1
    """Checkpoints kept by lowest validation loss, beside the last two."""
    early_stopping_patience: int | None = None
    """Validations without a lower joint loss after which the run ends; null never ends early."""

    def __post_init__(self) -> None:
        if self.save_every_n_steps < 1:
            raise UserError(
                f"callbacks.save_every_n_steps={self.save_every_n_steps} must be 1 or more; "
                "trainer.enable_checkpointing=false saves nothing"
            )
        if self.save_top_k < 0:
            raise UserError(f"callbacks.save_top_k={self.save_top_k} must be 0 or more")


@dataclass
class TrainerConfig:
    """Every option of Lightning's Trainer, under its own name and with its own meaning.

    The logger, the callbacks and the strategy have config groups of their own; plugins are objects,
    which no option can name. `max_steps` and `val_check_interval` count optimiser steps, whatever
    the accumulation.
    """

    accelerator: str = "auto"
    devices: Any = "auto"
    """A number of devices, -1 for all, a list of indices, or auto."""
    num_nodes: int = 1
    precision: str = "32-true"
    """One of Lightning's, or auto: bf16-mixed where the processor multiplies it, else 32-true."""
    max_steps: int = 1000
    """Optimiser steps; -1 leaves the end to `max_epochs` or `max_time`."""
    max_epochs: float | None = None
    """Passes over the sentence pairs; the run ends at this or at `max_steps`, whatever is first."""
    min_steps: int | None = None
    min_epochs: int | None = None
    max_time: str | None = None
    """Longest wall-clock time, as DD:HH:MM:SS."""
    accumulate_grad_batches: int | None = None
    """Micro-batches in an optimiser step; null follows from the batch sizes."""
    val_check_interval: Any = 100
    """Optimiser steps between validations, or the share of the run (a float up to 1.0)."""
    check_val_every_n_epoch: int | None = None
    num_sanity_val_steps: int = 0
    log_every_n_steps: int = 10
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    limit_test_batches: Any = None
    limit_predict_batches: Any = None
    overfit_batches: Any = 0.0
    fast_dev_run: Any = False
    enable_checkpointing: bool = True
    enable_progress_bar: bool = True
    enable_model_summary: bool = False
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    deterministic: Any = None
    benchmark: bool | None = None
    inference_mode: bool = True
    use_distributed_sampler: bool = False
    profiler: str | None = None
    detect_anomaly: bool = False
    barebones: bool = False
    sync_batchnorm: bool = False
    reload_dataloaders_every_n_epochs: int = 0
    default_root_dir: str | None = None
    enable_autolog_hparams: bool = False
    model_registry: str | None = None

    def __post_init__(self) -> None:
        _check_devices(self.devices)
        if self.num_nodes < 1:
            raise UserError(f"trainer.num_nodes={self.num_nodes} must be 1 or more")
        if self.accumulate_grad_batches is not None and self.accumulate_grad_batches < 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={self.accumulate_grad_batches} must be 1 or "
                "more, or null to follow from the batch sizes"
            )
        if self.max_steps < -1 or self.max_steps == 0:
            raise UserError(
                f"trainer.max_steps={self.max_steps} must be 1 or more, "
                "or -1 to end by trainer.max_epochs or trainer.max_time"
            )
        if self.max_epochs is not None and self.max_epochs <= 0:
            raise UserError(f"trainer.max_epochs={self.max_epochs:g} must be above 0")
        if self.log_every_n_steps < 1:
            raise UserError(f"trainer.log_every_n_steps={self.log_every_n_steps} must be 1 or more")
        if self.use_distributed_sampler:
            raise UserError(
                "trainer.use_distributed_sampler=true would hand out batches twice: "
                "each rank's batches are already its share of the global batch; leave it false"
            )


def _check_devices(devices: Any) -> None:
    if isinstance(devices, bool):
        number: Any = None
    elif isinstance(devices, list):
        number = devices if all(type(index) is int and index >= 0 for index in devices) else None
    else:
        number = devices
    named = isinstance(number, str) and (
        number == "auto" or all(part.strip().isdigit() for part in number.split(","))
    )
    counted = type(number) is int and (number >= 1 or number == -1)
    if not (named or counted or (isinstance(number, list) and number)):
        raise UserError(
            f"trainer.devices={devices} is not a number of devices: "
            "it expects an integer of 1 or more, -1 for all, a list of indices, or auto"
        )
