"""fit(config) → result: one run from its options to a trained model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from bert_lightning.config import Overlong, TrainConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.baselines import Baselines
from bert_lightning.data.batches import StepPartition
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
from bert_lightning.runs.resume import ResumePoint, find_resume_point, require_more
from bert_lightning.runs.seed import with_seed
from bert_lightning.training.assembly import Assembly, assemble
from bert_lightning.training.callbacks import epochs
from bert_lightning.training.saving import require_room
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.strategies import gathered
from bert_lightning.training.trainer import build_trainer, own_callbacks, quiet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """The result of a run."""

    config: TrainConfig
    corpus: PreparedCorpus
    model: BertForPreTraining
    baselines: Baselines | None
    """Of the validation split; None if there is none, or this is not the main process."""
    evaluation_set_sha256: str | None
    """Of the validation split; None as above."""
    statistics: DataStatistics | None
    """Of the corpus and the examples; None in all processes but the first."""
    curves: Curves
    """Each logged value by name, as (step, value)."""
    steps: int
    repeat: str | None
    """The options that repeat a run with a time budget by its steps."""
    epochs: float
    pairs: int
    tokens: int
    seconds: float
    """Of training, validation excluded."""
    share: StepPartition
    accelerator: str
    is_main: bool
    """Whether this is the first process, which reports."""


def fit(
    config: TrainConfig, *, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
) -> FitResult:
    """Prepares the corpus, trains, validates and, if asked, tests; or resumes a run.

    Args:
        config: the whole run.
        callbacks: Lightning callbacks that are added to the run's own.
        loggers: Lightning loggers that are added to the run's own.

    Raises:
        UserError: for whatever the user can put right, before the first step; and where a loss is
            not finite or a checkpoint cannot be written, with the earlier checkpoints untouched.
        RunEnded: a signal stopped it, another process died, or it was complete already.
    """
    if not is_first_process():
        logging.getLogger("bert_lightning").setLevel(logging.ERROR)  # the first one says it
    callbacks = [*own_callbacks(config), *callbacks]
    with ending_with_rank_0(), locked(config.folder), crash_report(config.folder), quiet():
        resumed = find_resume_point(config)
        return _fit(with_seed(config, resumed), resumed, callbacks, loggers)


def _fit(
    config: TrainConfig,
    resumed: ResumePoint | None,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
) -> FitResult:
    run = assemble(config, resumed)
    config, corpus, module, progress = run.config, run.corpus, run.module, run.module.progress
    if config.test and "test" not in corpus.splits:
        raise UserError(
            f"test=true, and {corpus.origin} has no test split; data.test_fraction=0.05 makes one"
        )
    if resumed is not None:
        require_more(resumed, config, progress.steps)
    validation = run.evaluation_sets.get("validation") if is_first_process() else None
    if is_first_process() and config.trainer.enable_checkpointing:
        size = expected_size(module.model, config.optim, module.description)
        require_room(config.folder, size)
    own_loggers = build_loggers(config, resumed)
    counted = None
    if is_first_process():
        counted = statistics(corpus, config.batch, config.drawn_seed, validation)
        write_config(config)
        write_text(config.folder / "tokenizer.json", corpus.tokenizer.to_str(pretty=True))
        if resumed is None:
            log_config(own_loggers, config, corpus)
        _announce(run, counted, resumed)
    with StopSignals() as signals:
        trainer = build_trainer(
            config,
            run.devices,
            run.partition,
            progress.steps,
            signals,
            baselines=validation.baselines if validation is not None else None,
            resumed=resumed,
            loggers=[*own_loggers, *loggers],
            callbacks=callbacks,
        )
        with all_processes(trainer):
            trainer.fit(
                module,
                datamodule=run.data,
                ckpt_path=resumed.path if resumed is not None else None,
                weights_only=True,
            )
            if config.test:
                trainer.test(module, datamodule=run.data, verbose=False)
            model = gathered(module.evaluated)
    return FitResult(
        config=config,
        corpus=corpus,
        model=model,
        baselines=validation.baselines if validation is not None else None,
        evaluation_set_sha256=validation.contents.sha256 if validation is not None else None,
        statistics=counted,
        curves=progress.curves,
        steps=trainer.global_step,
        repeat=progress.budget.by_steps() if progress.budget is not None else None,
        epochs=epochs(module),
        pairs=progress.pairs,
        tokens=progress.tokens,
        seconds=progress.seconds,
        share=run.partition,
        accelerator=run.devices.accelerator,
        is_main=trainer.is_global_zero,
    )


def _announce(run: Assembly, counted: DataStatistics, resumed: ResumePoint | None) -> None:
    config, corpus, module = run.config, run.corpus, run.module
    parameters = sum(parameter.numel() for parameter in module.model.parameters())
    examples, sizes = _examples(run), _sizes(run)
    divided = len(run.phases) > 1
    log.info(
        "corpus %s: %s%s words in the vocabulary (%s)",
        corpus.name,
        "" if divided else f"{examples[0]}, ",
        f"{corpus.tokenizer.get_vocab_size():,}",
        corpus.origin,
    )
    for line in lines(counted):
        log.info("%s", line)
    log.info(
        "model: %s parameters; %s steps %s; seed %s",
        f"{parameters:,}",
        f"{module.progress.steps:,}",
        f"in {len(run.phases)} phases" if divided else f"of {sizes[0]}",
        config.seed,
    )
    for phase, size, epoch in zip(run.phases, sizes, examples, strict=True):
        if divided:
            fraction = f"{phase.steps / module.progress.steps:.1%}"
            steps = f"{phase.start + 1:,} to {phase.end:,}"
            log.info("steps %s (%s): %s; %s", steps, fraction, size, epoch)
    log.info("run: %s", shown(config.folder))
    if resumed is not None:
        log.info("resumes from step %s: %s", resumed.step, shown(resumed.path))


def _examples(run: Assembly) -> list[str]:
    fate = "left out" if run.config.batch.pairs.overlong is Overlong.drop else "cut"
    return [
        f"{size:,} examples an epoch ({overlong:,} too long for {phase.max_length} tokens, "
        f"and {fate})"
        for phase, size, overlong in zip(
            run.phases, run.module.epoch_sizes, run.overlong, strict=True
        )
    ]


def _sizes(run: Assembly) -> list[str]:
    partition = run.partition
    return [
        f"{phase.global_batch_size} pairs = {partition.world_size} devices × "
        f"{partition.accumulation} micro-batches of "
        f"{partition.micro_batch_size(phase.global_batch_size)}"
        for phase in run.phases
    ]
