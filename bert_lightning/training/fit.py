"""fit(config) → result: one run from its options to a trained model."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L  # noqa: N812
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from bert_lightning.config import Overlong, RunConfig, TrainConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.shortcomings import shortcomings
from bert_lightning.data.statistics import DataStatistics, lines, statistics
from bert_lightning.errors import UserError
from bert_lightning.evaluation.best import BestModel, best_model
from bert_lightning.files import write_text
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.runs.checkpoint_io import expected_size
from bert_lightning.runs.curves import Curves
from bert_lightning.runs.folder import crash_report, locked, shown, write_config
from bert_lightning.runs.launched import is_first_process
from bert_lightning.runs.loggers import build_loggers, log_config
from bert_lightning.runs.processes import all_processes, ending_with_rank_0
from bert_lightning.runs.progress import Progress
from bert_lightning.runs.resume import ResumePoint, find_resume_point, require_more
from bert_lightning.runs.seed import with_seed
from bert_lightning.training.assembly import Assembly, Run, assemble
from bert_lightning.training.metrics import charts
from bert_lightning.training.saving import require_room
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.strategies import gathered
from bert_lightning.training.trainer import build_trainer, quiet
from bert_lightning.work import tracked, working

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """The result of a run."""

    config: TrainConfig
    corpus: PreparedCorpus
    model: BertForPreTraining
    """The model after the last step: the EMA of the weights, where there is one."""
    best: BestModel | None
    """The model of an earlier step that has the lowest validation loss, which :func:`load` takes
    from the run's folder; None if that is the last one's, or this is not the first process."""
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
    with started(config) as (stops, resumed):
        run = assemble(with_seed(config, resumed), resumed)
        return _fit(run, stops, callbacks, loggers)


@contextmanager
def started(config: RunConfig) -> Iterator[tuple[StopSignals, ResumePoint | None]]:
    """A context that holds the run's folder; gives its stop signals and where it resumes from.

    Raises:
        UserError: the folder is in use, or `resume` does not fit what it holds; and for what
            Lightning refuses in it.
    """
    seconds = config.trainer.max_time_seconds
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    if not is_first_process():
        logging.getLogger("bert_lightning").setLevel(logging.ERROR)  # the first one says it
    with ending_with_rank_0(), locked(config.folder), crash_report(config.folder), quiet():
        try:
            with working("working"):
                yield StopSignals(deadline), find_resume_point(config)
        except MisconfigurationException as error:
            raise UserError(f"Lightning refuses these options: {error}") from error


def train(
    run: Run,
    stops: StopSignals,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    test: bool,
) -> tuple[L.Trainer, Any]:
    """Trains a run to its end; returns the trainer, and the whole model that is evaluated."""
    config, progress = run.config, run.module.progress
    with stops as signals:
        trainer = build_trainer(run, progress.steps, signals, loggers=loggers, callbacks=callbacks)
        with all_processes(trainer):
            checkpoint = run.resumed.path if run.resumed is not None else None
            trainer.fit(run.module, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
            if progress.early_end:
                log.info("ended at step %s: %s", trainer.global_step, progress.early_end)
            if config.trainer.profiler is not None:
                log.info("profile: %s", shown(config.folder / "fit-profile.txt"))
            if test:
                trainer.test(run.module, datamodule=run.data, verbose=False)
            return trainer, gathered(run.module.evaluated)


def _fit(
    run: Assembly, stops: StopSignals, callbacks: Sequence[Callback], loggers: Sequence[Logger]
) -> FitResult:
    config, corpus, module, progress = run.config, run.corpus, run.module, run.module.progress
    if config.test and "test" not in corpus.splits:
        raise UserError(
            f"test=true, and {corpus.origin} has no test split; data.test_fraction=0.05 makes one"
        )
    if run.resumed is not None:
        require_more(run.resumed, config, progress.steps)
    if config.callbacks.early_stopping_patience is not None:
        _require_validation(run)
    validation = run.data.evaluation_sets.get("validation") if is_first_process() else None
    if is_first_process() and config.trainer.enable_checkpointing:
        size = expected_size(module.model, config.optim, module.description)
        require_room(config.folder, size)
    own_loggers = build_loggers(config, run.resumed)
    counted = None
    if is_first_process():
        with working("counting the text"):
            counted = statistics(corpus, config.batch, config.drawn_seed, validation)
        run.data.statistics = counted
        write_config(config)
        write_text(config.folder / "tokenizer.json", corpus.tokenizer.to_str(pretty=True))
        if run.resumed is None:
            log_config(own_loggers, config, corpus, charts(config.weights))
        _announce(run, counted)
    trainer, model = train(run, stops, callbacks, [*own_loggers, *loggers], config.test)
    best = _best(run, trainer) if trainer.is_global_zero else None
    return FitResult(
        config=config,
        corpus=corpus,
        model=model,
        best=best,
        validation=validation,
        statistics=counted,
        progress=progress,
        steps=trainer.global_step,
        epochs=module.epochs,
        partition=run.partition,
        accelerator=run.devices.accelerator,
        is_main=trainer.is_global_zero,
    )


def _best(run: Assembly, trainer: L.Trainer) -> BestModel | None:
    if not run.config.trainer.enable_checkpointing:
        return None
    test = None
    if run.config.test:
        batches = run.data.evaluation_sets["test"].batches(run.data.held_out_size)
        loaded = (batches[place] for place in range(len(batches)))
        test = tracked(loaded, len(batches), "testing the best model")
    folder, device = run.config.folder, trainer.strategy.root_device
    with trainer.strategy.precision_plugin.forward_context():
        return best_model(folder, trainer.global_step, test, run.data.token_stats, device)


def _require_validation(run: Assembly) -> None:
    if "validation" not in run.data.evaluation_sets:
        raise UserError(
            f"callbacks.early_stopping_patience={run.config.callbacks.early_stopping_patience} "
            f"follows the validation loss, and {run.corpus.origin} has no validation split: "
            "data.validation_fraction=0.1 makes one"
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
    budget = run.config.optim.time_budget and f"steps for {run.config.optim.time_budget}"
    shape = f"{parameters:,} parameters; {budget or f'{steps:,} steps'} {how}"
    log.info("model: %s; seed %s", shape, run.config.seed)
    for phase, pairs, epoch in zip(run.phases, sizes, epochs_of_phases, strict=True):
        if several:
            part = f"{phase.start + 1:,} to {phase.end:,} ({phase.steps / steps:.1%})"
            log.info("steps %s: %s; %s", part, pairs, epoch)
    log.info("run: %s", shown(run.config.folder))
    if run.config.validates_in_part:
        limit = run.config.trainer.limit_val_batches
        log.warning(
            "trainer.limit_val_batches=%s: the scores of a part of the validation split have no "
            "baselines, and compare with no other run",
            limit,
        )
    if run.resumed is not None:
        log.info("resumes from step %s: %s", run.resumed.step, shown(run.resumed.path))
