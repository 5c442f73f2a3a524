"""Lightning's Trainer, and what accompanies a run: launcher, strategy, loggers, callbacks."""

import re
from collections.abc import Sequence
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
    """`auto` is one device, or ddp where there are more, or in pretraining fsdp if their memory
    needs it; fsdp shards weights, gradients and optimizer state over the GPUs."""

    def __post_init__(self) -> None:
        check_limits(self, "strategy.")


class LauncherName(Enum):
    auto = "auto"
    ray = "ray"


@dataclass
class LauncherConfig:
    """What starts the processes of a run."""

    name: LauncherName = option(LauncherName.auto, EXECUTION)
    """`auto` is this command, or torchrun or SLURM where they started it; ray is Ray Train, in the
    cluster of RAY_ADDRESS or else on this machine; `pip install 'bert-lightning[ray]'`."""
    workers: int = option(1, EXECUTION, at_least=1)
    """Ray's workers, each of which is a rank, with a GPU of its own where the cluster has GPUs."""
    cpus_per_worker: int = option(1, EXECUTION, at_least=1)
    """CPU cores that Ray sets aside for each worker."""
    max_failures: int = option(3, EXECUTION, "; 0 starts no worker again", at_least=0)
    """How often Ray starts lost workers again; the run resumes from its newest checkpoint."""

    def __post_init__(self) -> None:
        check_limits(self, "launcher.")
        if self.name is LauncherName.auto and self.workers > 1:
            raise UserError(
                f"launcher.workers={self.workers} are workers of Ray: add launcher=ray, or use "
                f"trainer.devices={self.workers} for as many processes on this machine"
            )


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

    def __post_init__(self) -> None:
        check_limits(self, "logger.")


@dataclass
class CallbacksConfig:
    """What accompanies a run."""

    every_n_train_steps: int = option(
        100, EXECUTION, "; trainer.enable_checkpointing=false saves nothing", at_least=1
    )
    """Optimizer steps between checkpoints: what a run that is killed loses at most."""
    save_top_k: int = option(1, EXECUTION, at_least=0)
    """Checkpoints kept by lowest validation loss, beside the last two."""
    early_stopping_patience: int | None = option(
        None, EXECUTION, "; null never ends early", at_least=1
    )
    """Validations without a lower joint loss after which the run ends; null never ends early."""
    own: list[str] = listed(LEARNING)
    """Callbacks of your own, as `module:Class`, marked with `@extension("callback")`: a class of
    Lightning callbacks, made without arguments."""

    def __post_init__(self) -> None:
        check_limits(self, "callbacks.")


ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
SHARDED_PRECISIONS = ("auto", "32-true", "bf16-mixed", "bf16-true", "16-true", "32", "bf16")
"""The precisions that fsdp supports."""
PRECISIONS = (*SHARDED_PRECISIONS, "16-mixed", "64-true", "16", "64")
DEFAULT_STEPS = 2000
"""Optimizer steps of a run that no option ends."""

NO_OPTIONS = {
    "fast_dev_run": "it counts micro-batches, which may make no whole step; a short trial is "
    "trainer.max_steps=2 trainer.limit_val_batches=1 trainer.enable_checkpointing=false",
    "overfit_batches": "a run never reads a batch twice; train on a small text: data.path=FILE",
    "limit_train_batches": "trainer.max_steps or trainer.max_epochs says how long a run is",
    "limit_test_batches": "the test is the whole test split, once; test=false omits it",
    "limit_predict_batches": "a run predicts nothing; scripts/encode.py does",
    "check_val_every_n_epoch": "a run is one epoch of Lightning's; trainer.val_check_interval says "
    "how often it validates",
    "reload_dataloaders_every_n_epochs": "a run is one epoch of Lightning's",
    "min_epochs": "a run is one epoch of Lightning's; callbacks.early_stopping_patience says how "
    "long early stopping waits",
    "min_steps": "callbacks.early_stopping_patience says how long early stopping waits",
    "use_distributed_sampler": "each rank has its own part of the global batch already",
    "sync_batchnorm": "a BERT has no batch normalization",
    "benchmark": "a BERT has no convolutions, which it is for",
    "inference_mode": "validation computes no gradients",
    "barebones": "name what the run shall omit: logger=csv trainer.enable_progress_bar=false "
    "trainer.enable_checkpointing=false",
    "default_root_dir": "hydra.run.dir=FOLDER says where everything of a run is written",
    "enable_autolog_hparams": "every logger gets the whole config already",
    "model_registry": "it belongs to a service that this project does not use",
    "plugins": "they are objects, which no option can name",
    "strategy": "it is a config group: strategy=ddp",
    "logger": "it is a config group: logger=wandb; your own are logger.own=[module:function]",
    "callbacks": "it is a config group; your own are callbacks.own=[module:Class]",
}
"""Arguments of Lightning's Trainer that `trainer` lacks, with the reason or what to use instead."""


@dataclass
class TrainerConfig:
    """The options of Lightning's Trainer that a run has, under the names that they have there.

    `max_steps` and `val_check_interval` count optimizer steps, whatever the gradient accumulation.
    """

    accelerator: str = option("auto", EXECUTION, words=ACCELERATORS)
    """`auto` is a GPU of CUDA if there is one, else the CPU; mps, an Apple GPU, must be named."""
    devices: Any = option("auto", EXECUTION)
    """A number of devices, -1 for all, a list of indices, or auto."""
    num_nodes: int = option(1, EXECUTION, at_least=1)
    """Machines of the run, which torchrun, SLURM or another scheduler starts."""
    precision: str = option("auto", LEARNING, words=PRECISIONS)
    """One of Lightning's, or auto: bf16-mixed where the processor multiplies it, else 32-true."""
    max_steps: int | None = option(
        None,
        LEARNING,
        ", or -1 to end by trainer.max_epochs or trainer.max_time",
        at_least=1,
        also=-1,
    )
    """Optimizer steps; -1 leaves the end to `max_epochs`, `max_time` or `optim.time_budget`. Null
    is 2000, or -1 with `max_epochs` or `optim.time_budget`."""
    max_epochs: float | None = option(None, LEARNING, above=0)
    """Epochs over the examples; the run ends at this or at `max_steps`, whichever is first."""
    max_time: str | None = option(None, EXECUTION)
    """Longest wall-clock time of a command, as DD:HH:MM:SS, from its start. The run then ends after
    a step, and validates, saves and reports; `resume=` continues, with as much time again."""
    accumulate_grad_batches: int | None = option(
        None, LEARNING, ", or null to follow from the batch sizes", at_least=1
    )
    """Micro-batches of an optimizer step; null follows from the batch sizes."""
    val_check_interval: int | float = option(
        200, EXECUTION, "; trainer.limit_val_batches=0 never validates", at_least=1
    )
    """Optimizer steps between validations, or the fraction of the run (a float up to 1.0)."""
    num_sanity_val_steps: int = option(
        0, EXECUTION, ", or -1 for the whole validation split", at_least=0, also=-1
    )
    """Batches of a validation before the first step, which shows that it works; none is scored."""
    log_every_n_steps: int = option(10, EXECUTION, at_least=1)
    """Optimizer steps between points of the training curves."""
    limit_val_batches: int | float | None = option(None, EXECUTION, at_least=0)
    """Micro-batches of a validation, or their fraction (a float up to 1.0); 0 never validates. The
    scores of a part have no baselines, and compare with those of no other run."""
    enable_checkpointing: bool = option(True, EXECUTION)
    """Whether the run saves checkpoints, without which nothing can resume or load it."""
    enable_progress_bar: bool = option(True, EXECUTION)
    """Whether the run shows its progress, as a bar or as lines."""
    enable_model_summary: bool = option(False, EXECUTION)
    """Whether the start of the run shows the modules of the model."""
    gradient_clip_val: float | None = option(None, LEARNING, "; null clips nothing", above=0)
    """The norm that the gradient is clipped to, or the value, by `gradient_clip_algorithm`."""
    gradient_clip_algorithm: str | None = option(None, LEARNING, words=("norm", "value"))
    """What `gradient_clip_val` limits; null is the norm of the whole gradient."""
    deterministic: bool | None = option(None, LEARNING)
    """Whether torch uses deterministic algorithms alone, or fails; null leaves it as it is set."""
    profiler: str | None = option(None, EXECUTION, words=("simple", "advanced", "pytorch"))
    """One of Lightning's profilers; the run's folder gets what it measured."""
    detect_anomaly: bool = option(False, EXECUTION)
    """Whether torch looks for NaN in each backward pass, and names the operation; slow."""

    def __post_init__(self) -> None:
        check_limits(self, "trainer.")
        if not _are_devices(self.devices):
            raise UserError(
                f"trainer.devices={self.devices} is not a number of devices: "
                "it must be an integer of 1 or more, -1 for all, a list of indices, or auto"
            )
        if self.max_time_seconds == 0:
            raise UserError("trainer.max_time=00:00:00:00 is no time; null sets no limit")
        if self.gradient_clip_algorithm is not None and self.gradient_clip_val is None:
            raise UserError(
                f"trainer.gradient_clip_algorithm={self.gradient_clip_algorithm} without "
                "trainer.gradient_clip_val clips nothing: set trainer.gradient_clip_val=1, or omit "
                "both"
            )

    @property
    def max_time_seconds(self) -> float | None:
        """The longest wall-clock time in seconds; None where there is none."""
        if self.max_time is None:
            return None
        found = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", self.max_time)
        if found is None:
            raise UserError(
                f"trainer.max_time={self.max_time} is not a time: write it as DD:HH:MM:SS, such as "
                "00:08:00:00 for eight hours"
            )
        days, hours, minutes, seconds = map(int, found.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def check_launcher(launcher: LauncherConfig, trainer: TrainerConfig) -> None:
    """Raises a UserError where options of the trainer contradict the launcher."""
    if launcher.name is LauncherName.auto:
        return
    if trainer.devices != "auto" or trainer.num_nodes != 1:
        raise UserError(
            f"launcher=ray starts launcher.workers={launcher.workers} processes, and Ray places "
            f"them: omit trainer.devices={trainer.devices} trainer.num_nodes={trainer.num_nodes}"
        )
    if trainer.accelerator == "mps":
        raise UserError(
            "trainer.accelerator=mps with launcher=ray: Ray knows no Apple GPUs; use "
            "trainer.accelerator=cpu, or omit launcher=ray"
        )


def _are_devices(value: Any) -> bool:
    match value:
        case bool():
            return False
        case int():
            return value == -1 or value >= 1
        case str():
            indices = [part.strip() for part in value.split(",")]
            if len(indices) == 1 and indices[0].removeprefix("-").isdecimal():
                return _are_devices(int(value))
            return value == "auto" or (len(indices) > 1 and _are_indices(indices))
        case [*indices]:
            return not any(isinstance(index, bool) for index in indices) and _are_indices(indices)
    return False


def _are_indices(values: Sequence[Any]) -> bool:
    numbers = {str(value) for value in values}
    return 0 < len(values) == len(numbers) and all(number.isdecimal() for number in numbers)
