"""Every option of the project: one dataclass for each config group, and the checks across them.

These classes alone say which options exist, the type, default and limits of each, and what it
affects; `conf/*.yaml` holds only what differs from the defaults. Nothing here knows Hydra.
"""

from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from bert_lightning.config.affects import COMMAND, EXECUTION, LEARNING, PLACE, check_limits, option
from bert_lightning.config.batch import BatchConfig as BatchConfig
from bert_lightning.config.batch import MaskingConfig as MaskingConfig
from bert_lightning.config.batch import MaskingUnit as MaskingUnit
from bert_lightning.config.batch import Overlong as Overlong
from bert_lightning.config.batch import PairKind as PairKind
from bert_lightning.config.batch import PairsConfig as PairsConfig
from bert_lightning.config.batch import PairTask as PairTask
from bert_lightning.config.batch import PhaseConfig as PhaseConfig
from bert_lightning.config.corpus import CorpusConfig as CorpusConfig
from bert_lightning.config.corpus import CorpusSource as CorpusSource
from bert_lightning.config.corpus import DocumentUnit as DocumentUnit
from bert_lightning.config.corpus import Fallback as Fallback
from bert_lightning.config.corpus import Format as Format
from bert_lightning.config.corpus import PrepareConfig as PrepareConfig
from bert_lightning.config.corpus import PrepareExecutor as PrepareExecutor
from bert_lightning.config.length import check_end
from bert_lightning.config.model import FeedForwardKind as FeedForwardKind
from bert_lightning.config.model import HiddenAct as HiddenAct
from bert_lightning.config.model import ModelConfig as ModelConfig
from bert_lightning.config.model import NormPlacement as NormPlacement
from bert_lightning.config.model import PositionEmbedding as PositionEmbedding
from bert_lightning.config.optim import ObjectiveConfig as ObjectiveConfig
from bert_lightning.config.optim import OptimConfig as OptimConfig
from bert_lightning.config.optim import OptimizerName as OptimizerName
from bert_lightning.config.optim import ScheduleName as ScheduleName
from bert_lightning.config.task import ProbeConfig as ProbeConfig
from bert_lightning.config.tokenizer import TokenizerConfig as TokenizerConfig
from bert_lightning.config.tokenizer import TokenizerKind as TokenizerKind
from bert_lightning.config.trainer import DEFAULT_STEPS as DEFAULT_STEPS
from bert_lightning.config.trainer import CallbacksConfig as CallbacksConfig
from bert_lightning.config.trainer import LauncherConfig as LauncherConfig
from bert_lightning.config.trainer import LauncherName as LauncherName
from bert_lightning.config.trainer import LoggerConfig as LoggerConfig
from bert_lightning.config.trainer import StrategyConfig as StrategyConfig
from bert_lightning.config.trainer import StrategyName as StrategyName
from bert_lightning.config.trainer import TrainerConfig as TrainerConfig
from bert_lightning.config.trainer import check_launcher as check_launcher
from bert_lightning.errors import UserError


class RunConfig:
    """What every training run has, of pretraining and of fine-tuning; both are dataclasses."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    optim: OptimConfig
    trainer: TrainerConfig
    launcher: LauncherConfig
    strategy: StrategyConfig
    logger: LoggerConfig
    callbacks: CallbacksConfig
    init_from: str | None
    resume: str | None
    allow_changes: bool
    seed: int | None
    optimized_metric: str | None
    run_dir: str | None

    @property
    def drawn_seed(self) -> int:
        """The seed, which a run draws at its start where none is given."""
        return 0 if self.seed is None else self.seed

    @property
    def folder(self) -> Path:
        """The run's folder, once it is known."""
        assert self.run_dir is not None, "a run has no folder before it starts"
        return Path(self.run_dir)

    @property
    def most_steps(self) -> int | None:
        """The optimizer steps that the run ends at; None where epochs or a time alone end it."""
        given = self.trainer.max_steps
        if given is None and self.trainer.max_epochs is None and self.optim.time_budget is None:
            return DEFAULT_STEPS
        return None if given == -1 else given

    @property
    def never_validates(self) -> bool:
        return self.trainer.limit_val_batches == 0

    @property
    def validates_in_part(self) -> bool:
        """Whether the validation scores are those of a part of the split, which baselines lack."""
        limit = self.trainer.limit_val_batches
        return limit not in (None, 0) and not (type(limit) is float and limit == 1)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each objective in the joint loss, by its name."""
        raise NotImplementedError


AnyConfig = TypeVar("AnyConfig", bound=RunConfig)


@dataclass
class TrainConfig(RunConfig):
    """One whole run; `TrainConfig()` is what `python train.py` trains."""

    data: CorpusConfig = field(default_factory=CorpusConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    init_from: str | None = option(None, LEARNING | PLACE)
    """Weights to start from, and with them the tokenizer: a run, a checkpoint, a folder in Hugging
    Face's format or a name on its hub; null starts from random weights."""
    resume: str | None = option(None, COMMAND)
    """The folder of a run to resume, bit-exact; `auto` resumes this very command's own run, and
    starts it where there is none yet."""
    allow_changes: bool = option(False, COMMAND)
    """Whether a run may resume with options, or with a corpus, that change what it learns."""
    seed: int | None = option(0, LEARNING, "; seed=null draws one", at_least=0, at_most=2**32 - 1)
    """Decides the initial weights, the order, the pairs, the masks and the dropout; null draws one,
    which the log and the checkpoints name."""
    test: bool = option(False, EXECUTION)
    """Whether the test split is evaluated at the end."""
    optimized_metric: str | None = option(None, EXECUTION)
    """What a sweep ranks its trials by and returns to its sweeper, such as `val/mlm_loss`; null is
    `val/loss`, the joint validation loss."""
    run_dir: str | None = option(None, COMMAND | PLACE)
    """The folder of this run; null makes a new one below `runs`."""
    debug: str | None = option(None, COMMAND)
    """`traceback` shows where an error arose instead of its message alone."""

    def __post_init__(self) -> None:
        check_limits(self, "")
        if self.debug not in (None, "traceback"):
            raise UserError(f"debug={self.debug} is not known; the one value is debug=traceback")
        if self.batch.max_length > self.model.max_position_embeddings:
            raise UserError(
                f"batch.max_length={self.batch.max_length} is more than "
                f"model.max_position_embeddings={self.model.max_position_embeddings}: "
                "shorten the one or raise the other"
            )
        if self.tokenizer.extend and self.init_from is None and self.tokenizer.path is None:
            raise UserError(
                f"tokenizer.extend={self.tokenizer.extend} adds words to an existing tokenizer, "
                "and there is none: name one with init_from= or tokenizer.path=, or raise "
                "tokenizer.vocab_size"
            )
        if self.optim.ema_decay is not None and self.trainer.precision in ("bf16-true", "16-true"):
            raise UserError(
                f"optim.ema_decay={self.optim.ema_decay:g} with trainer.precision="
                f"{self.trainer.precision}: a 16-bit average would round its small steps "
                "to nothing; use trainer.precision=bf16-mixed"
            )
        if self.callbacks.early_stopping_patience is not None and self.never_validates:
            raise UserError(
                f"callbacks.early_stopping_patience={self.callbacks.early_stopping_patience} with "
                f"trainer.limit_val_batches={self.trainer.limit_val_batches}: early stopping "
                "follows the validation loss; omit one of them"
            )
        if self.probe.path is not None and self.never_validates:
            raise UserError(
                f"probe.path={self.probe.path} with trainer.limit_val_batches=0: the probe follows "
                "validations; omit one of them"
            )
        check_end(self)
        check_launcher(self.launcher, self.trainer)

    @property
    def weights(self) -> dict[str, float]:
        return self.objective.weights
