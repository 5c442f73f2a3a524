"""Lightning's Trainer, and what accompanies a run: strategy, loggers, callbacks."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from bert_lightning.config.affects import EXECUTION, LEARNING, PLACE, check_limits, listed, option
from bert_lightning.errors import UserError


class StrategyName(Enum):
    auto = "auto"
    ddp = "ddp"
    fsdp = "fsdp"


@dataclass
class StrategyConfig:
    """How several devices divide the work."""

    name: StrategyName = option(StrategyName.auto, EXECUTION)
    """`auto` is one device, or ddp where there are more; fsdp shards weights, gradients and
    optimizer state over the GPUs."""


@dataclass
class LoggerConfig:
    """Where the curves go besides the run's `metrics.csv`, which is always written."""

    tensorboard: bool = option(True, EXECUTION)
    """Whether the run's folder gets TensorBoard's event files."""
    wandb: bool = option(False, EXECUTION)
    """Whether Weights & Biases gets the curves; `pip install 'bert-lightning[wandb]'`."""
    mlflow: bool = option(False, EXECUTION)
    """Whether MLflow gets the curves; `pip install 'bert-lightning[mlflow]'`."""
    project: str = option("bert-lightning", EXECUTION)
    """The project at Weights & Biases, the experiment in MLflow."""
    offline: bool = option(False, EXECUTION)
    """Whether Weights & Biases stays on this machine; `wandb sync` uploads the run later."""
    tracking_uri: str | None = option(None, EXECUTION | PLACE)
    """MLflow's server or store; null is that of MLFLOW_TRACKING_URI, or `sqlite:///mlflow.db`."""
    own: list[str] = listed(EXECUTION)
    """Loggers of your own, as `module:function`, marked with `@extension("logger")`: a function
    from the run's config to a Lightning logger."""


@dataclass
class CallbacksConfig:
    """What accompanies a run."""

    every_n_train_steps: int = option(
        100, EXECUTION, "; trainer.enable_checkpointing=false saves nothing", at_least=1
    )
    """Optimizer steps between checkpoints: what a run that is killed loses at most."""
    save_top_k: int = option(1, EXECUTION, at_least=0)
    """Checkpoints kept by lowest validation loss, beside the last two."""
    early_stopping_patience: int | None = option(None, EXECUTION)
    """Validations without a lower joint loss after which the run ends; null never ends early."""
    own: list[str] = listed(LEARNING)
    """Callbacks of your own, as `module:Class`, marked with `@extension("callback")`: a class of
    Lightning callbacks, made without arguments."""

    def __post_init__(self) -> None:
        check_limits(self, "callbacks.")


@dataclass
class TrainerConfig:
    """Every option of Lightning's Trainer, under its own name and with its own meaning.

    The loggers, the callbacks and the strategy have config groups of their own; plugins are
    objects, which no option can name. `max_steps` and `val_check_interval` count optimizer steps,
    whatever the gradient accumulation.
    """

    accelerator: str = option("auto", EXECUTION)
    devices: Any = option("auto", EXECUTION)
    """A number of devices, -1 for all, a list of indices, or auto."""
    num_nodes: int = option(1, EXECUTION, at_least=1)
    precision: str = option("auto", LEARNING)
    """One of Lightning's, or auto: bf16-mixed where the processor multiplies it, else 32-true."""
    max_steps: int = option(2000, LEARNING)
    """Optimizer steps; -1 leaves the end to `max_epochs` or `max_time`."""
    max_epochs: float | None = option(None, LEARNING, above=0)
    """Epochs over the examples; the run ends at this or at `max_steps`, whichever is first."""
    min_steps: int | None = option(None, LEARNING)
    min_epochs: int | None = option(None, LEARNING)
    max_time: str | None = option(None, EXECUTION)
    """Longest wall-clock time, as DD:HH:MM:SS."""
    accumulate_grad_batches: int | None = option(
        None, LEARNING, ", or null to follow from the batch sizes", at_least=1
    )
    """Micro-batches of an optimizer step; null follows from the batch sizes."""
    val_check_interval: Any = option(200, EXECUTION)
    """Optimizer steps between validations, or the fraction of the run (a float up to 1.0)."""
    check_val_every_n_epoch: int | None = option(None, LEARNING)
    num_sanity_val_steps: int = option(0, EXECUTION)
    log_every_n_steps: int = option(10, EXECUTION, at_least=1)
    limit_train_batches: Any = option(None, LEARNING)
    limit_val_batches: Any = option(None, EXECUTION)
    limit_test_batches: Any = option(None, EXECUTION)
    limit_predict_batches: Any = option(None, LEARNING)
    overfit_batches: Any = option(0.0, LEARNING)
    fast_dev_run: Any = option(False, LEARNING)
    enable_checkpointing: bool = option(True, EXECUTION)
    enable_progress_bar: bool = option(True, EXECUTION)
    enable_model_summary: bool = option(False, EXECUTION)
    gradient_clip_val: float | None = option(None, LEARNING)
    gradient_clip_algorithm: str | None = option(None, LEARNING)
    deterministic: Any = option(None, LEARNING)
    benchmark: bool | None = option(None, LEARNING)
    inference_mode: bool = option(True, EXECUTION)
    use_distributed_sampler: bool = option(False, LEARNING)
    profiler: str | None = option(None, EXECUTION)
    detect_anomaly: bool = option(False, EXECUTION)
    barebones: bool = option(False, LEARNING)
    sync_batchnorm: bool = option(False, LEARNING)
    reload_dataloaders_every_n_epochs: int = option(0, LEARNING)
    default_root_dir: str | None = option(None, EXECUTION | PLACE)
    enable_autolog_hparams: bool = option(False, LEARNING)
    model_registry: str | None = option(None, LEARNING)

    def __post_init__(self) -> None:
        check_limits(self, "trainer.")
        if not _are_devices(self.devices):
            raise UserError(
                f"trainer.devices={self.devices} is not a number of devices: "
                "it must be an integer of 1 or more, -1 for all, a list of indices, or auto"
            )
        if self.max_steps < -1 or self.max_steps == 0:
            raise UserError(
                f"trainer.max_steps={self.max_steps} must be at least 1, "
                "or -1 to end by trainer.max_epochs or trainer.max_time"
            )
        if self.use_distributed_sampler:
            raise UserError(
                "trainer.use_distributed_sampler=true would hand out batches twice: each rank has "
                "its own part of the global batch already; omit the option"
            )


def _are_devices(value: Any) -> bool:
    match value:
        case bool():
            return False
        case int():
            return value == -1 or value >= 1
        case str():
            return value == "auto" or all(part.strip().isdigit() for part in value.split(","))
        case [*indices]:
            return bool(indices) and all(type(index) is int and index >= 0 for index in indices)
    return False
