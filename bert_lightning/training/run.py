"""fit(config) → result: one run from its options to a trained model."""

import json
import logging
import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L  # noqa: N812
from lightning.pytorch.loggers import TensorBoardLogger

from bert_lightning.config import Overlong, TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.data.batches import EvaluationBatches, Share
from bert_lightning.data.floors import Floors, floors
from bert_lightning.data.pairs import pair_sampler
from bert_lightning.data.prepare import prepare
from bert_lightning.data.statistics import DataStatistics, lines, statistics
from bert_lightning.data.store import PreparedCorpus
from bert_lightning.data.tokenizer import rows_needed
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.pretrained.initial import open_initial, start_from
from bert_lightning.pretrained.source import Source
from bert_lightning.training.allocator import keep_freed_memory
from bert_lightning.training.checkpoints import describe_run, expected_size
from bert_lightning.training.datamodule import PretrainingData
from bert_lightning.training.devices import divide_global_batch, find_devices, with_precision
from bert_lightning.training.module import PretrainingModule
from bert_lightning.training.processes import (
    all_processes,
    ending_with_the_first,
    is_first_process,
)
from bert_lightning.training.resume import Earlier, find_earlier, require_same_run, same_share
from bert_lightning.training.run_folder import crash_report, held, write_config
from bert_lightning.training.saving import require_room
from bert_lightning.training.seed import with_seed
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.trainer import build_trainer

log = logging.getLogger(__name__)

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)  # their greetings and tips
warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's, of torch's newer pytree
# Lightning's too, of loaders that it has not saved: ours begins at any step.
warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")

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
    floors: Floors | None
    """Of the validation split; None where there is none."""
    statistics: DataStatistics | None
    """Of the corpus and the examples; None where this process does not speak for the run."""
    curves: dict[str, list[tuple[int, float]]]
    """Each logged value by name, as (step, value)."""
    steps: int
    epochs: float
    pairs: int
    tokens: int
    seconds: float
    """Of training, validation excluded."""
    share: Share
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
    run_dir = Path(config.run_dir)
    with ending_with_the_first(), held(run_dir), crash_report(run_dir):
        earlier = find_earlier(config)
        return _fit(with_seed(config, earlier), earlier)


def _fit(config: TrainConfig, earlier: Earlier | None) -> FitResult:
    devices = find_devices(config)
    config = with_precision(config, devices.accelerator)
    if devices.accelerator == "cpu":
        keep_freed_memory()
    share = divide_global_batch(config, devices)
    if earlier is not None:
        share = same_share(earlier, config, share)
    source = open_initial(config)
    corpus = prepare(config.data, config.tokenizer, source.tokenizer if source else None)
    vocab_size = _vocab_size(config, corpus, source)
    sampler = pair_sampler(corpus.splits["train"], config.data.pairs, config.data.max_length)
    steps = _steps(config, len(sampler))
    if config.test and "test" not in corpus.splits:
        raise UserError(
            f"test=true, and {corpus.origin} has no test split; data.test_share=0.05 holds one out"
        )
    if earlier is not None:
        require_same_run(earlier, config, corpus, vocab_size, steps)
    description = describe_run(config, corpus, vocab_size)
    module = PretrainingModule(config, vocab_size, steps, len(sampler), description)
    if source is not None and earlier is None:
        start_from(module.model, source, corpus.tokenizer)
    data = PretrainingData(corpus, config.data, config.drawn_seed, share, steps)
    validation_floors = _validation_floors(config, corpus, vocab_size)
    counted = None
    if is_first_process():
        counted = statistics(corpus, config.data, config.drawn_seed)
        if config.trainer.enable_checkpointing:
            require_room(Path(config.run_dir), expected_size(module.parameters(), description))
        _write_down(config, corpus)
        _announce(config, corpus, module, share, sampler.overlong, counted, earlier)
    with StopSignals() as signals:
        trainer = build_trainer(config, devices, share, steps, validation_floors, signals, earlier)
        if counted is not None:
            _log_texts(trainer, config, corpus)
        with all_processes(trainer):
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=earlier.path if earlier is not None else None,
                weights_only=True,
            )
            if config.test:
                trainer.test(module, datamodule=data, verbose=False)
    return FitResult(
        config=config,
        corpus=corpus,
        model=module.model,
        floors=validation_floors,
        statistics=counted,
        curves=module.curves,
        steps=trainer.global_step,
        epochs=module.pairs_seen / module.epoch_size,
        pairs=module.pairs_seen,
        tokens=module.tokens_seen,
        seconds=module.seconds,
        share=share,
        accelerator=devices.accelerator,
        is_main=trainer.is_global_zero,
    )


def shown(folder: str) -> str:
    """A folder as its user would type it: relative to the working directory, if it lies below."""
    path = Path(folder).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _vocab_size(config: TrainConfig, corpus: PreparedCorpus, source: Source | None) -> int:
    words, wanted = rows_needed(corpus.tokenizer), config.model.vocab_size
    if wanted is not None and wanted < words:
        raise UserError(
            f"model.vocab_size={wanted} is smaller than the tokenizer's {words} words; "
            f"use model.vocab_size={words}, or null to follow the tokenizer"
        )
    return wanted or max(words, source.vocab_size if source else 0)


def _steps(config: TrainConfig, epoch_size: int) -> int:
    """Optimiser steps of the run: the first limit of `max_steps` and `max_epochs`."""
    limits = [config.trainer.max_steps] if config.trainer.max_steps != -1 else []
    if config.trainer.max_epochs is not None:
        examples = config.trainer.max_epochs * epoch_size
        limits.append(math.ceil(examples / config.data.global_batch_size))
    if config.optim.warmup_steps > min(limits):
        raise UserError(
            f"optim.warmup_steps={config.optim.warmup_steps} is longer than the run of "
            f"{min(limits)} steps: warm up for fewer steps"
        )
    return min(limits)


def _validation_floors(
    config: TrainConfig, corpus: PreparedCorpus, vocab_size: int
) -> Floors | None:
    if "validation" not in corpus.splits:
        return None
    held_out = EvaluationBatches(corpus, "validation", config.data, config.data.global_batch_size)
    return floors(corpus.splits["train"], held_out, vocab_size)


def _write_down(config: TrainConfig, corpus: PreparedCorpus) -> None:
    write_config(config)
    tokenizer = corpus.tokenizer.to_str(pretty=True)
    (Path(config.run_dir) / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


def _announce(
    config: TrainConfig,
    corpus: PreparedCorpus,
    module: PretrainingModule,
    share: Share,
    overlong: int,
    counted: DataStatistics,
    earlier: Earlier | None,
) -> None:
    parameters = sum(parameter.numel() for parameter in module.model.parameters())
    fate = "left out" if config.data.pairs.overlong is Overlong.drop else "cut"
    log.info(
        "corpus %s: %s examples an epoch (%s too long for %s tokens, and %s), "
        "%s words in the vocabulary (%s)",
        corpus.name,
        f"{module.epoch_size:,}",
        f"{overlong:,}",
        config.data.max_length,
        fate,
        f"{corpus.tokenizer.get_vocab_size():,}",
        corpus.origin,
    )
    for line in lines(counted):
        log.info("%s", line)
    log.info(
        "model: %s parameters; %s steps of %s pairs = %s devices × %s micro-batches of %s; seed %s",
        f"{parameters:,}",
        f"{module.steps:,}",
        share.global_batch_size,
        share.world_size,
        share.accumulation,
        share.micro_batch_size,
        config.seed,
    )
    log.info("run: %s", shown(config.run_dir))
    if earlier is not None:
        log.info("goes on from step %s: %s", earlier.step, shown(str(earlier.path)))


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
