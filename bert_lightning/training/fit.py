"""fit(config) → result: one run from its options to a trained model."""

import json
import logging
from dataclasses import asdict, dataclass

import lightning as L  # noqa: N812
from lightning.pytorch.loggers import TensorBoardLogger

from bert_lightning.config import Overlong, TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.baselines import Baselines
from bert_lightning.data.batches import StepPartition
from bert_lightning.data.statistics import DataStatistics, lines, statistics
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.runs.checkpoint_io import expected_size
from bert_lightning.runs.folder import crash_report, held, shown, write_config
from bert_lightning.runs.launched import is_first_process
from bert_lightning.runs.processes import all_processes, ending_with_the_first
from bert_lightning.runs.resume import ResumePoint, find_earlier, require_more
from bert_lightning.runs.seed import with_seed
from bert_lightning.training.assembly import Assembly, assemble
from bert_lightning.training.saving import require_room
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.strategies import gathered
from bert_lightning.training.trainer import build_trainer

log = logging.getLogger(__name__)

_CHARTS = {
    "losses": {
        "MLM and NSP": [
            "Multiline",
            ["train/mlm_loss", "val/mlm_loss", "train/nsp_loss", "val/nsp_loss"],
        ]
    },
    "accuracies": {
        "MLM and NSP": [
            "Multiline",
            ["train/mlm_accuracy", "val/mlm_accuracy", "train/nsp_accuracy", "val/nsp_accuracy"],
        ]
    },
}


@dataclass(frozen=True)
class FitResult:
    """What a run came to."""

    config: TrainConfig
    corpus: PreparedCorpus
    model: BertForPreTraining
    baselines: Baselines | None
    """Of the validation split; None if there is none, or this is not the main process."""
    evaluation_set_sha256: str | None
    """Of the validation split; None as above."""
    statistics: DataStatistics | None
    """Of the corpus and the examples; None where this process does not speak for the run."""
    curves: dict[str, list[tuple[int, float]]]
    """Each logged value by name, as (step, value)."""
    steps: int
    repeat: str | None
    """The options that make a run by the clock again by its steps."""
    epochs: float
    pairs: int
    tokens: int
    seconds: float
    """Of training, validation excluded."""
    share: StepPartition
    accelerator: str
    is_main: bool
    """Whether this process speaks for the run."""


def fit(config: TrainConfig) -> FitResult:
    """Prepares the corpus, trains, validates and, if asked, tests; or goes on with a run.

    Raises:
        UserError: for whatever the user can put right, before the first step; and where a loss is
            not finite or a checkpoint cannot be written, with the earlier checkpoints untouched.
        RunEnded: a signal stopped it, another process died, or it was complete already.
    """
    run_dir = config.folder
    if not is_first_process():
        logging.getLogger("bert_lightning").setLevel(
            logging.ERROR
        )  # what is to be said is said once
    with ending_with_the_first(), held(run_dir), crash_report(run_dir):
        earlier = find_earlier(config)
        return _fit(with_seed(config, earlier), earlier)


def _fit(config: TrainConfig, earlier: ResumePoint | None) -> FitResult:
    run = assemble(config, earlier)
    config, corpus, module = run.config, run.corpus, run.module
    if config.test and "test" not in corpus.splits:
        raise UserError(
            f"test=true, and {corpus.origin} has no test split; data.test_fraction=0.05 holds one out"
        )
    if earlier is not None:
        require_more(earlier, config, module.steps)
    validation = run.evaluation_sets.get("validation") if is_first_process() else None
    counted = None
    if is_first_process():
        counted = statistics(corpus, config.batch, config.drawn_seed, validation)
        if config.trainer.enable_checkpointing:
            size = expected_size(module.model, config.optim, module.description)
            require_room(config.folder, size)
        _write_down(config, corpus)
        _announce(run, counted, earlier)
    with StopSignals() as signals:
        trainer = build_trainer(
            config,
            run.devices,
            run.partition,
            module.steps,
            validation.baselines if validation is not None else None,
            signals,
            earlier,
        )
        if counted is not None:
            _log_texts(trainer, config, corpus)
        with all_processes(trainer):
            trainer.fit(
                module,
                datamodule=run.data,
                ckpt_path=earlier.path if earlier is not None else None,
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
        evaluation_set_sha256=validation.sha256 if validation is not None else None,
        statistics=counted,
        curves=module.curves,
        steps=trainer.global_step,
        repeat=module.budget.by_steps() if module.budget is not None else None,
        epochs=module.epochs,
        pairs=module.pairs_seen,
        tokens=module.tokens_seen,
        seconds=module.seconds,
        share=run.partition,
        accelerator=run.devices.accelerator,
        is_main=trainer.is_global_zero,
    )


def _write_down(config: TrainConfig, corpus: PreparedCorpus) -> None:
    write_config(config)
    tokenizer = corpus.tokenizer.to_str(pretty=True)
    (config.folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


def _announce(run: Assembly, counted: DataStatistics, earlier: ResumePoint | None) -> None:
    config, corpus, module = run.config, run.corpus, run.module
    parameters = sum(parameter.numel() for parameter in module.model.parameters())
    epochs, sizes = _epochs(run), _sizes(run)
    divided = len(run.phases) > 1
    log.info(
        "corpus %s: %s%s words in the vocabulary (%s)",
        corpus.name,
        "" if divided else f"{epochs[0]}, ",
        f"{corpus.tokenizer.get_vocab_size():,}",
        corpus.origin,
    )
    for line in lines(counted):
        log.info("%s", line)
    log.info(
        "model: %s parameters; %s steps %s; seed %s",
        f"{parameters:,}",
        f"{module.steps:,}",
        f"in {len(run.phases)} phases" if divided else f"of {sizes[0]}",
        config.seed,
    )
    for phase, size, epoch in zip(run.phases, sizes, epochs, strict=True):
        if divided:
            share = f"{phase.steps / module.steps:.1%}"
            steps = f"{phase.start + 1:,} to {phase.end:,}"
            log.info("steps %s (%s): %s; %s", steps, share, size, epoch)
    log.info("run: %s", shown(config.folder))
    if earlier is not None:
        log.info("goes on from step %s: %s", earlier.step, shown(str(earlier.path)))


def _epochs(run: Assembly) -> list[str]:
    fate = "left out" if run.config.batch.pairs.overlong is Overlong.drop else "cut"
    return [
        f"{size:,} examples an epoch ({overlong:,} too long for {phase.max_length} tokens, "
        f"and {fate})"
        for phase, size, overlong in zip(
            run.phases, run.module.epoch_sizes, run.overlong, strict=True
        )
    ]


def _sizes(run: Assembly) -> list[str]:
    share = run.partition
    return [
        f"{phase.global_batch_size} pairs = {share.world_size} devices × "
        f"{share.accumulation} micro-batches of {share.micro_batch_size(phase.global_batch_size)}"
        for phase in run.phases
    ]


def _log_texts(trainer: L.Trainer, config: TrainConfig, corpus: PreparedCorpus) -> None:
    if not isinstance(trainer.logger, TensorBoardLogger):
        return
    writer = trainer.logger.experiment
    writer.add_custom_scalars(_CHARTS)
    written = json.dumps(to_plain(asdict(config)), indent=2)
    writer.add_text("config", f"```json\n{written}\n```")
    writer.add_text("corpus", f"{corpus.name}: {corpus.origin}")
    if corpus.fallback_reason:
        writer.add_text("fallback", corpus.fallback_reason)
