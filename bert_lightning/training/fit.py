"""fit(config) → result: one run from its options to a trained model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from bert_lightning.config import Overlong, TrainConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import StepPartition
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.shortcomings import shortcomings
from bert_lightning.data.statistics import DataStatistics, lines, statistics
from bert_lightning.errors import UserError
from bert_lightning.files import write_text
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.runs.checkpoint_io import expected_size
from bert_lightning.runs.curves import Curves
from bert_lightning.runs.folder import crash_report, locked, shown, write_config
from bert_lightning.runs.launched import is_first_process
from bert_lightning.runs.loggers import build_loggers, log_config
from bert_lightning.runs.processes import all_processes, ending_with_rank_0
from bert_lightning.runs.progress import Progress
from bert_lightning.runs.resume import find_resume_point, require_more
from bert_lightning.runs.seed import with_seed
from bert_lightning.training.assembly import Assembly, assemble
from bert_lightning.training.callbacks import epochs
from bert_lightning.training.saving import require_room
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.strategies import gathered
from bert_lightning.training.trainer import build_trainer, quiet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """The result of a run."""

    config: TrainConfig
    corpus: PreparedCorpus
    model: BertForPreTraining
    validation: EvaluationSet | None
    """None if there is no validation split, or this is not the first process."""
    statistics: DataStatistics | None
    """Of the corpus and the examples; None in all processes but the first."""
    progress: Progress
    steps: int
    epochs: float
    partition: StepPartition
    accelerator: str
    is_main: bool
    """Whether this is the first process, which reports."""

    @property
    def curves(self) -> Curves:
        """Each logged value by name, as (step, value)."""
        return self.progress.curves


def fit(
    config: TrainConfig, *, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
) -> FitResult:
    """Prepares the corpus, trains, validates and, if asked, tests; or resumes a run.

    `callbacks` and `loggers` are Lightning's; they are added to the run's own.

    Raises:
        UserError: for whatever the user can put right, before the first step; and where a loss is
            not finite or a checkpoint cannot be written, with the earlier checkpoints untouched.
        RunEnded: a signal stopped it, another process died, or it was complete already.
    """
    if not is_first_process():
        logging.getLogger("bert_lightning").setLevel(logging.ERROR)  # the first one says it
    with ending_with_rank_0(), locked(config.folder), crash_report(config.folder), quiet():
        resumed = find_resume_point(config)
        return _fit(assemble(with_seed(config, resumed), resumed), callbacks, loggers)


def _fit(run: Assembly, callbacks: Sequence[Callback], loggers: Sequence[Logger]) -> FitResult:
    config, corpus, module, progress = run.config, run.corpus, run.module, run.module.progress
    if config.test and "test" not in corpus.splits:
        raise UserError(
            f"test=true, and {corpus.origin} has no test split; data.test_fraction=0.05 makes one"
        )
    if run.resumed is not None:
        require_more(run.resumed, config, progress.steps)
    validation = run.data.evaluation_sets.get("validation") if is_first_process() else None
    if is_first_process() and config.trainer.enable_checkpointing:
        size = expected_size(module.model, config.optim, module.description)
        require_room(config.folder, size)
    own_loggers = build_loggers(config, run.resumed)
    counted = None
    if is_first_process():
        counted = statistics(corpus, config.batch, config.drawn_seed, validation)
        write_config(config)
        write_text(config.folder / "tokenizer.json", corpus.tokenizer.to_str(pretty=True))
        if run.resumed is None:
            log_config(own_loggers, config, corpus)
        _announce(run, counted)
    with StopSignals() as signals:
        loggers = [*own_loggers, *loggers]
        trainer = build_trainer(run, progress.steps, signals, loggers=loggers, callbacks=callbacks)
        with all_processes(trainer):
            checkpoint = run.resumed.path if run.resumed is not None else None
            trainer.fit(module, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
            if config.test:
                trainer.test(module, datamodule=run.data, verbose=False)
            model = gathered(module.evaluated)
    return FitResult(
        config=config,
        corpus=corpus,
        model=model,
        validation=validation,
        statistics=counted,
        progress=progress,
        steps=trainer.global_step,
        epochs=epochs(module),
        partition=run.partition,
        accelerator=run.devices.accelerator,
        is_main=trainer.is_global_zero,
    )


def _announce(run: Assembly, counted: DataStatistics) -> None:
    corpus, partition, steps = run.corpus, run.partition, run.module.progress.steps
    sizes, epochs_of_phases = [], []
    fate = "left out" if run.config.batch.pairs.overlong is Overlong.drop else "cut"
    for phase, size, overlong in zip(run.phases, run.module.epoch_sizes, run.overlong, strict=True):
        sizes.append(
            f"{phase.global_batch_size} pairs = {partition.world_size} devices × "
            f"{partition.accumulation} micro-batches of "
            f"{partition.micro_batch_size(phase.global_batch_size)}"
        )
        epochs_of_phases.append(
            f"{size:,} examples an epoch ({overlong:,} too long for {phase.max_length} tokens, "
            f"and {fate})"
        )
    several = len(run.phases) > 1
    epoch = "" if several else f"{epochs_of_phases[0]}, "
    words = f"{corpus.tokenizer.get_vocab_size():,} words in the vocabulary"
    log.info("corpus %s: %s%s (%s)", corpus.name, epoch, words, corpus.origin)
    for line in lines(counted):
        log.info("%s", line)
    for shortcoming in shortcomings(corpus, counted, run.config.batch):
        log.warning("WARNING: %s.", shortcoming)
    parameters = sum(parameter.numel() for parameter in run.module.model.parameters())
    how = f"in {len(run.phases)} phases" if several else f"of {sizes[0]}"
    shape = f"{parameters:,} parameters; {steps:,} steps {how}"
    log.info("model: %s; seed %s", shape, run.config.seed)
    for phase, pairs, epoch in zip(run.phases, sizes, epochs_of_phases, strict=True):
        if several:
            part = f"{phase.start + 1:,} to {phase.end:,} ({phase.steps / steps:.1%})"
            log.info("steps %s: %s; %s", part, pairs, epoch)
    log.info("run: %s", shown(run.config.folder))
    if run.resumed is not None:
        log.info("resumes from step %s: %s", run.resumed.step, shown(run.resumed.path))
