"""Every option of the project: one dataclass for each config group, and the checks across them.

The values live in `conf/*.yaml`; these classes say which keys exist, what type each has, and what
is allowed. A check fails with a :class:`UserError` that states the value, the limit and the way
out. Nothing here knows Hydra.
"""

from dataclasses import dataclass, field

from bert_lightning.config.data import (
    DataConfig,
    Fallback,
    Format,
    MaskingConfig,
    MaskingUnit,
    Overlong,
    PairKind,
    PairsConfig,
    PairTask,
    Source,
)
from bert_lightning.config.model import (
    FeedForwardKind,
    HiddenAct,
    ModelConfig,
    NormPlacement,
    PositionEmbedding,
)
from bert_lightning.config.phases import PhaseConfig
from bert_lightning.config.tokenizer import TokenizerConfig, TokenizerKind
from bert_lightning.config.training import (
    CallbacksConfig,
    LoggerConfig,
    LoggerName,
    ObjectiveConfig,
    OptimConfig,
    OptimizerName,
    ScheduleName,
    StrategyConfig,
    StrategyName,
    TrainerConfig,
)
from bert_lightning.errors import UserError

__all__ = [
    "CallbacksConfig",
    "DataConfig",
    "Fallback",
    "FeedForwardKind",
    "Format",
    "HiddenAct",
    "LoggerConfig",
    "LoggerName",
    "MaskingConfig",
    "MaskingUnit",
    "ModelConfig",
    "NormPlacement",
    "ObjectiveConfig",
    "OptimConfig",
    "OptimizerName",
    "Overlong",
    "PairKind",
    "PairTask",
    "PairsConfig",
    "PhaseConfig",
    "PositionEmbedding",
    "ScheduleName",
    "Source",
    "StrategyConfig",
    "StrategyName",
    "TokenizerConfig",
    "TokenizerKind",
    "TrainConfig",
    "TrainerConfig",
]


@dataclass
class TrainConfig:
    """One run, whole."""

    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    logger: LoggerConfig | None = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    init_from: str | None = None
    """Weights to start from, and with them the tokenizer: a run, a checkpoint, a folder in Hugging
    Face's format or a name on its hub; null starts from random weights."""
    resume: str | None = None
    """The folder of a run to go on with, as if it had never stopped; `auto` goes on with this very
    command's own run, and begins it where there is none yet."""
    allow_changes: bool = False
    """Whether a run may go on with options, or with a corpus, that change what it learns."""
    seed: int | None = 0
    """Decides the initial weights, the order, the pairs, the masks and the dropout; null draws one,
    which the log and the checkpoints name."""
    test: bool = False
    """Whether the test split is evaluated at the end."""
    run_dir: str = "runs/run"
    """The folder of this run; `hydra.run.dir` moves it."""
    debug: str | None = None
    """`traceback` shows where an error arose instead of its message alone."""

    def __post_init__(self) -> None:
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UserError(
                f"seed={self.seed} must lie between 0 and {2**32 - 1}; seed=null draws one"
            )
        if self.debug not in (None, "traceback"):
            raise UserError(f"debug={self.debug} is not known; the one value is debug=traceback")
        if self.data.max_length > self.model.max_position_embeddings:
            raise UserError(
                f"data.max_length={self.data.max_length} is more than "
                f"model.max_position_embeddings={self.model.max_position_embeddings}: "
                "shorten the one or raise the other"
            )
        if self.tokenizer.extend and self.init_from is None and self.tokenizer.path is None:
            raise UserError(
                f"tokenizer.extend={self.tokenizer.extend} adds words to an existing tokenizer, "
                "and there is none: name one with init_from= or tokenizer.path=, or raise "
                "tokenizer.vocab_size"
            )
        if self.trainer.max_steps != -1 and self.optim.warmup_steps > self.trainer.max_steps:
            raise UserError(
                f"optim.warmup_steps={self.optim.warmup_steps} is longer than the run of "
                f"trainer.max_steps={self.trainer.max_steps}: warm up for fewer steps"
            )
        if self.optim.budget is not None and self.data.masking.mask_probability_end is not None:
            raise UserError(
                f"data.masking.mask_probability_end={self.data.masking.mask_probability_end:g} "
                f"changes over the steps of a run, and with optim.budget={self.optim.budget} they "
                "are not known: leave one of them away"
            )
        if self.data.phases is not None:
            self._check_phases()
        if self.optim.ema_decay is not None and self.trainer.precision in ("bf16-true", "16-true"):
            raise UserError(
                f"optim.ema_decay={self.optim.ema_decay:g} with trainer.precision="
                f"{self.trainer.precision}: an average of 16 bits would round its small steps "
                "away; use trainer.precision=bf16-mixed"
            )
        ends = self.trainer.max_epochs is not None or self.optim.budget is not None
        if self.trainer.max_steps == -1 and not ends:
            raise UserError(
                "trainer.max_steps=-1 leaves the run without an end: "
                "set trainer.max_epochs, or trainer.max_steps"
            )

    def _check_phases(self) -> None:
        unknown = {"optim.budget": self.optim.budget, "trainer.max_epochs": self.trainer.max_epochs}
        for name, value in unknown.items():
            if value is not None:
                raise UserError(
                    f"{name}={value} with data.phases: their shares are shares of the run's steps, "
                    f"which are not known then; set {name}=null, and trainer.max_steps"
                )

    @property
    def drawn_seed(self) -> int:
        """The seed, once it is known: a run draws one at its start where none is given."""
        return 0 if self.seed is None else self.seed
