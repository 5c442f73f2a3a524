"""One whole run of fine-tuning: every option of `bert-lightning finetune`."""

from dataclasses import dataclass, field

from bert_lightning.config import (
    CallbacksConfig,
    LauncherConfig,
    LoggerConfig,
    OptimConfig,
    OptimizerName,
    RunConfig,
    ScheduleName,
    StrategyConfig,
    TrainerConfig,
    check_launcher,
)
from bert_lightning.config.affects import (
    COMMAND,
    EXECUTION,
    LEARNING,
    OPTIMIZER_STATE,
    PLACE,
    check_limits,
    option,
)
from bert_lightning.config.task import LabelledBatchConfig, LabelledConfig, TaskConfig
from bert_lightning.errors import UserError


@dataclass
class FinetuneOptimConfig(OptimConfig):
    """The optimizer of fine-tuning: bias-corrected AdamW, warmup, and a linear decay to 0."""

    optimizer: OptimizerName = option(OptimizerName.adamw, LEARNING | OPTIMIZER_STATE)
    lr: float | None = option(None, LEARNING, above=0)  # type: ignore[assignment]
    """Peak learning rate; null follows from the width of the model: 5e-5 for base, and more the
    narrower it is, by a power of 5/3: 1e-3 for tiny."""
    beta2: float = option(0.999, LEARNING, at_least=0, below=1)
    weight_decay: float = option(0.01, LEARNING, at_least=0)
    schedule: ScheduleName = option(ScheduleName.linear, LEARNING)
    warmup_steps: int | None = option(None, LEARNING, at_least=0)  # type: ignore[assignment]
    """Optimizer steps over which the learning rate rises from 0 to its peak; null is a tenth of the
    run."""


@dataclass
class FinetuneTrainerConfig(TrainerConfig):
    """The trainer of fine-tuning, whose length may follow from the model."""

    max_steps: int | None = option(None, LEARNING, at_least=1, also=-1)
    """Optimizer steps; -1, as null, leaves the end to `max_epochs`."""
    max_epochs: float | None = option(None, LEARNING, above=0)
    """Epochs over the examples; the run ends at this or at `max_steps`, whichever is first. Null,
    without `max_steps`, follows from the width of the model: 5 for base, and more the narrower it
    is, by a square root: 12 for tiny."""


@dataclass
class FinetuneConfig(RunConfig):
    """One whole run of fine-tuning; `FinetuneConfig()` lacks only the model and the data."""

    task: TaskConfig = field(default_factory=TaskConfig)
    data: LabelledConfig = field(default_factory=LabelledConfig)
    batch: LabelledBatchConfig = field(default_factory=LabelledBatchConfig)
    optim: FinetuneOptimConfig = field(default_factory=FinetuneOptimConfig)
    trainer: FinetuneTrainerConfig = field(
        default_factory=lambda: FinetuneTrainerConfig(val_check_interval=0.1)
    )
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(
        default_factory=lambda: CallbacksConfig(every_n_train_steps=1000)
    )
    init_from: str | None = option(None, LEARNING | PLACE)
    """The pretrained model, and with it the tokenizer: a run, a checkpoint, a folder in Hugging
    Face's format or a name on its hub."""
    random_weights: bool = option(False, LEARNING)
    """Whether the model of `init_from` starts from random weights, as a baseline."""
    baselines: bool = option(True, EXECUTION)
    """Whether the test split is scored beside what needs no pretraining: the commonest class or the
    mean, the commonest label of each word or TF-IDF with a linear model, and the same model from
    random weights, which trains as long as the run itself; sentence vectors also beside those of
    the pretrained model before fine-tuning."""
    seeds: int = option(1, EXECUTION, at_least=1, at_most=100)
    """How many runs are compared: those of `seed`, `seed` + 1 and so on, with their baselines."""
    learning_curve: bool = option(False, EXECUTION)
    """Whether the runs are repeated with a third of the training examples, a ninth and so on, to
    draw the score against their number."""
    resume: str | None = option(None, COMMAND)
    """The folder of a run to resume, bit-exact; `auto` resumes this very command's own run, and
    starts it where there is none yet."""
    allow_changes: bool = option(False, COMMAND)
    """Whether a run may resume with options, or with data, that change what it learns."""
    seed: int | None = option(0, LEARNING, "; seed=null draws one", at_least=0, at_most=2**32 - 1)
    """Decides the new weights, the order, the dropout and the examples that are drawn; null draws
    one, which the log and the checkpoints name."""
    optimized_metric: str | None = option(None, EXECUTION)
    """What a sweep ranks its trials by and returns to its sweeper, such as `val/macro_f1`; null is
    the task's main score of the validation split."""
    run_dir: str | None = option(None, COMMAND | PLACE)
    """The folder of this run; null makes a new one below `runs`."""
    debug: str | None = option(None, EXECUTION, words=("traceback",))
    """`traceback` shows where an error arose instead of its message alone."""

    def __post_init__(self) -> None:
        check_limits(self, "")
        if self.optim.time_budget is not None:
            raise UserError(
                f"optim.time_budget={self.optim.time_budget} belongs to pretraining; a run of "
                "fine-tuning ends by trainer.max_epochs or trainer.max_steps"
            )
        if self.trainer.limit_val_batches not in (None, 0):
            raise UserError(
                f"trainer.limit_val_batches={self.trainer.limit_val_batches}: the scores of a task "
                "need the whole validation split; null takes it, and 0 never validates"
            )
        if self.callbacks.early_stopping_patience is not None and self.never_validates:
            raise UserError(
                f"callbacks.early_stopping_patience={self.callbacks.early_stopping_patience} with "
                "trainer.limit_val_batches=0: early stopping follows the validation split; omit "
                "one of them"
            )
        check_launcher(self.launcher, self.trainer)
        if self.learning_curve and self.data.examples_per_class is not None:
            raise UserError(
                f"data.examples_per_class={self.data.examples_per_class} fixes the number of "
                "examples, and learning_curve=true varies it: omit one of them"
            )

    @property
    def most_steps(self) -> int | None:
        """The optimizer steps that the run ends at; None where epochs alone end it."""
        return None if self.trainer.max_steps == -1 else self.trainer.max_steps

    @property
    def has_more_runs(self) -> bool:
        """Whether the results need further runs: of other seeds, weights or numbers of examples."""
        twins = self.baselines and not self.random_weights
        return self.seeds > 1 or self.learning_curve or twins

    @property
    def weights(self) -> dict[str, float]:
        return {self.task.kind.value: 1.0}
